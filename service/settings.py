"""What an operator may choose: where data lies, who may connect, how much is taken in.

Defaults suit one machine. Every limit has its reason beside it; a TOML file given with ``--config``
may change any of them, an unknown key is an error.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from crackseg.config import AnalyzeOptions, EngineOptions, read_options, to_plain
from crackseg.errors import ConfigError
from crackseg.inference.runtimes import RUNTIMES
from crackseg.names import nearest
from crackseg.processors import cpu_count as cores
from service.paths import clean_prefix

ROLES = ("all", "api", "worker")
ENGINES = ("processes", "ray")
MB = 1024 * 1024
_DECIDED = {
    "model": "set `model`",
    "exports": "it writes all that its pages show",
    "max_megapixels": "set `max_image_megapixels`",
}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the service; what the workers read is the same record."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    role: str = "all"
    db: str = ""  # empty: SQLite in `data`; else postgresql://user:password@host/name
    model: str = "default"  # name of a shipped model, or a model folder
    allowed_hosts: tuple[str, ...] = ()  # names the service may be called by, besides `host`
    root_path: str = ""  # where a proxy shows the service below its root, as /cracks

    analyze: AnalyzeOptions = field(default_factory=AnalyzeOptions)  # defaults of every analysis

    # Who works on the images: slots of this machine, or as many `actors` of a cluster.
    engine: EngineOptions = field(default_factory=EngineOptions)
    slots: int = 0  # images analyzed at once; 0: as many as cores, at most one per 3 GB of memory
    threads: int = 0  # of the network per slot; 0: cores / slots
    image_timeout_s: float = 900.0  # 100 megapixels take some 60 s on two cores
    image_cpu_s: float = 3600.0
    image_memory_mb: int = 8192  # address space of a process that decodes; 200 megapixels: 3 GB
    attempts: int = 8  # starts of one image, counting those that a dead worker cut short

    max_image_mb: int = 512
    max_image_megapixels: float = 200.0  # drones reach 100
    max_survey_images: int = 5000
    max_tenant_mb: int = 200 * 1024
    max_queued_images: int = 20_000  # of one tenant
    min_free_mb: int = 512  # intake and work pause below
    body_pause_s: float = 30.0  # a sender that is silent for longer is cut off
    head_s: float = 5.0  # a request head must be whole within

    grace_s: float = 30.0  # running images may finish after SIGTERM
    keep_days: float = 0.0  # surveys are deleted that long after anything happened; 0: never
    keep_uploads_h: float = 24.0  # unfinished uploads

    def __post_init__(self) -> None:
        prefix = clean_prefix(self.root_path)
        if prefix is None:
            raise ConfigError(f"`root_path` must be a path as `/cracks`, got `{self.root_path}`.")
        object.__setattr__(self, "root_path", prefix)
        self._check_analyze()
        self._check_engine()
        if self.role not in ROLES:
            raise ConfigError(f"`role` must be one of {', '.join(ROLES)}, got `{self.role}`.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"`port` must lie between 0 and 65535, got {self.port}.")
        if self.role != "all" and not self.db:
            raise ConfigError(
                f"role `{self.role}` needs `--db postgresql://...`; SQLite is for one machine "
                "with role `all`."
            )
        if self.db and not self.db.startswith(("postgresql://", "postgres://")):
            raise ConfigError("`db` must start with postgresql://; leave it out for SQLite.")
        for name in ("max_image_mb", "max_image_megapixels", "image_timeout_s", "attempts"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"`{name}` must be larger than 0, got {getattr(self, name)}.")

    def _check_analyze(self) -> None:
        """Refuse what would be left out without a word: the service decides it elsewhere."""
        plain = AnalyzeOptions()
        for name, instead in _DECIDED.items():
            if getattr(self.analyze, name) != getattr(plain, name):
                raise ConfigError(f"`analyze.{name}` has no effect in the service; {instead}.")
        runtime = self.analyze.predict.runtime
        if runtime not in ("auto", *RUNTIMES):
            raise ConfigError(
                f"unknown runtime `{runtime}` in `analyze.predict`; known: "
                f"{nearest(runtime, RUNTIMES)}."
            )

    def _check_engine(self) -> None:
        engine = self.engine
        if engine.name not in ENGINES:
            raise ConfigError(
                f"unknown engine `{engine.name}` in `engine`; known: {', '.join(ENGINES)}."
            )
        if engine.name == "ray" and engine.actors is None:
            raise ConfigError("`engine.actors` must say how many images are analyzed at once.")
        if engine.name == "ray" and (self.slots or self.threads):
            raise ConfigError(
                "`slots` and `threads` are of this machine; with engine ray set `actors` and "
                "`cpus_per_actor` of `engine`."
            )

    @property
    def public(self) -> bool:
        """Whether others than this machine can connect."""
        return self.host not in LOOPBACK

    @property
    def slot_count(self) -> int:
        """Images analyzed at once by one worker."""
        if self.engine.actors:
            return self.engine.actors
        if self.slots:
            return self.slots
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
        return max(min(cores(), int(memory_gb // 3)), 1)

    @property
    def slot_memory_mb(self) -> int:
        """Address space of a slot; 0 is no limit: an accelerator's driver reserves without end."""
        return self.image_memory_mb if self.analyze.predict.device == "cpu" else 0

    @property
    def thread_count(self) -> int:
        """Threads of the network in one slot."""
        if self.engine.name == "ray":
            return self.engine.cpus_per_actor
        return self.threads or max(cores() // self.slot_count, 1)

    @property
    def most_threads(self) -> int:
        """Threads of the network for a single image that somebody waits for."""
        is_here = self.engine.name == "processes"
        return self.thread_count * (self.slot_count if is_here else 1)

    def to_json(self) -> str:
        """Return the settings as one line, for a worker process."""
        return json.dumps(to_plain(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Return the settings that ``to_json`` wrote."""
        return read_options(cls, json.loads(text), where="settings")
