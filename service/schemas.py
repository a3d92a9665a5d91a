"""What requests and answers look like; their examples are in ``openapi.py``."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from crackseg.config import AnalyzeOptions, merge, read_options, to_plain
from service.database import State
from service.names import clean_text, without_turns

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
MmPerPx = Annotated[float, Field(ge=1e-3, le=100, allow_inf_nan=False)]
NO_NUL = r"^[^\x00]*$"  # PostgreSQL takes none
Name = Annotated[
    str, Field(min_length=1, max_length=200, pattern=NO_NUL), AfterValidator(clean_text)
]
STRICT = ConfigDict(extra="forbid", strict=True)  # no key more, no text for a number


def _whole(value: object) -> object:
    """Return 5.0 as 5: JSON knows one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Pixels = Annotated[int, Field(ge=1, le=10**6), BeforeValidator(_whole)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Options(BaseModel):
    """How an image is analyzed; what is left out has the default of `crackseg analyze`."""

    model_config = STRICT

    mm_per_px: MmPerPx | None = Field(default=None, description="Size of a pixel on the structure.")
    distance_m: Positive | None = Field(default=None, description="From camera to face.")
    marker_mm: Positive | None = Field(default=None, description="Side of a marker in the picture.")
    use_metadata: bool = Field(
        default=True, description="Take the scale from EXIF and XMP if it is there."
    )
    face_batter: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] | None = Field(
        default=None, description="Slope of the face, horizontal over vertical: 0 is vertical."
    )
    face_azimuth_deg: Annotated[float, Field(ge=0, le=360, allow_inf_nan=False)] | None = Field(
        default=None, description="Compass direction that the face looks to."
    )
    threshold: Share | None = Field(
        default=None, description="Probability from which a pixel is crack."
    )
    threshold_low: Share | None = None
    min_area_px: Pixels | None = None
    gap_px: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = None
    min_length_px: Annotated[float, Field(ge=0, le=10**5, allow_inf_nan=False)] | None = None

    def for_image(self, own: dict[str, Any]) -> Options:
        """Return the options of one image: a source of scale of its own replaces the survey's."""
        shared = self.plain()
        if any(name in own for name in _SCALES):
            shared = {name: value for name, value in shared.items() if name not in _SCALES}
        return Options.model_validate({**shared, **own})

    def plain(self) -> dict[str, Any]:
        """Return what was given, as it is kept."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    def over(self, defaults: AnalyzeOptions) -> AnalyzeOptions:
        """Return the options as the pipeline takes them: what was given, laid over the operator's.

        Raises:
            ConfigError: values contradict each other.
        """
        tables: dict[str, dict[str, Any]] = {}
        for name, value in self.plain().items():
            tables.setdefault(_TABLES[name], {})[name] = value
        return read_options(AnalyzeOptions, merge(to_plain(defaults), tables))

    def checked(self, defaults: AnalyzeOptions) -> dict[str, Any]:
        """Return what was given, as it is kept, after it was seen to fit the operator's.

        Raises:
            ConfigError: values contradict each other.
        """
        self.over(defaults)
        return self.plain()


_SCALES = ("mm_per_px", "distance_m", "marker_mm")
_TABLES = {  # name of an option -> the table of `AnalyzeOptions` that has it
    option.name: table
    for table, kind in typing.get_type_hints(AnalyzeOptions).items()
    if dataclasses.is_dataclass(kind)
    for option in dataclasses.fields(kind)
    if option.name in Options.model_fields
}


class ImageOptions(BaseModel):
    """Where the scale of one image comes from; what is left out is as for its survey."""

    model_config = STRICT

    mm_per_px: MmPerPx | None = None
    distance_m: Positive | None = None
    marker_mm: Positive | None = None
    use_metadata: bool | None = None

    def plain(self) -> dict[str, Any]:
        """Return what was given, as it is kept."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class Counts(BaseModel):
    """Images of a job by state."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class ErrorInfo(BaseModel):
    """Why an image was not analyzed."""

    code: str
    message: str


class Analysis(BaseModel):
    """One image and what became of it."""

    id: str
    status: State
    progress: float
    image: str
    created_at: str
    finished_at: str | None
    error: ErrorInfo | None
    cracks: int | None = Field(description="Without those that an inspector rejected.")
    judged: bool | None = Field(
        description="False where the picture shows nothing: that no crack was found says nothing."
    )
    links: dict[str, str]


class NewSurvey(BaseModel):
    """A survey to be."""

    model_config = STRICT

    name: Name
    options: Options | None = Field(default=None, description="Kept for when it is analyzed.")


class SurveyChange(BaseModel):
    """What of a survey is to be changed; what is left out stays."""

    model_config = STRICT

    name: Name | None = None
    options: Options | None = Field(default=None, description="Kept for when it is analyzed.")


class NewFacts(BaseModel):
    """The text of a `survey.toml`; an empty one takes back what was stated."""

    model_config = STRICT

    toml: str = Field(max_length=16_000, pattern=NO_NUL)


class Facts(BaseModel):
    """What people know of a survey and no photograph tells."""

    toml: str = Field(description="As it was sent; the template where nothing was.")
    stated: dict[str, Any] = Field(description="What it says.")


class Survey(BaseModel):
    """A set of images that are analyzed together."""

    id: str
    name: str
    created_at: str
    images: int
    size_bytes: int
    job: str | None = Field(description="The latest job.")
    status: State | Literal["draft"]
    not_analyzed: int = Field(description="Images that the latest job does not hold.")
    options: dict[str, Any] = Field(description="What was kept for when it is analyzed.")


class SurveyPage(BaseModel):
    """Some surveys, the newest first."""

    surveys: list[Survey]
    next: str | None = Field(description="Cursor of the next page.")


class Image(BaseModel):
    """An image that was taken in."""

    id: str
    name: str
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    format: str
    created_at: str
    options: dict[str, Any] | None = Field(description="That hold for this image alone.")


class ImagePage(BaseModel):
    """Some images, in the order they came."""

    images: list[Image]
    next: str | None


class Job(BaseModel):
    """An analysis of all images of a survey: how far it is, and where its files are."""

    id: str
    status: State
    message: str
    progress: int = Field(description="In percent.")
    remaining_s: float | None = Field(
        description="About how long it takes from now on, with the jobs before it; None: unknown."
    )
    created: str
    started: str | None
    finished: str | None
    updated: str
    survey: str
    options: dict[str, Any]
    counts: Counts
    links: dict[str, str]


class JobPage(BaseModel):
    """Some jobs, the newest first."""

    jobs: list[Job]
    next: str | None


class Task(BaseModel):
    """What became of one image of a job."""

    image: str = Field(description="The image's id.")
    name: str
    status: State
    progress: float
    error: ErrorInfo | None
    summary: dict[str, Any] | None = Field(description="The image's row of the survey.")
    finished_at: str | None
    links: dict[str, str]


class TaskPage(BaseModel):
    """Some images of a job, in the order they came."""

    images: list[Task]
    next: str | None


class NewVerdict(BaseModel):
    """What an inspector says of a crack."""

    model_config = STRICT

    verdict: Literal["accept", "reject", "open"]
    note: Annotated[str, AfterValidator(without_turns)] = Field(
        default="", max_length=2000, pattern=NO_NUL
    )
    seen_at: str | None = Field(
        default=None,
        max_length=40,
        description="`updated_at` of the verdict before it, "
        "empty for none: 409 if somebody else has spoken since.",
    )
    seen_edits: list[Annotated[str, Field(max_length=100)]] | None = Field(
        default=None,
        max_length=1000,
        description="`edits` of the crack in the `report.json` that was looked at, [] for none: "
        "409 if an edit has changed the crack since, or its number is another's now.",
    )


class Verdict(BaseModel):
    """A verdict with the crack it is about."""

    verdict: Literal["accept", "reject", "open"]
    note: str
    image: str
    crack: int
    by: str = Field(description="Id of the key that said so.")
    by_name: str = Field(description="The key's name.")
    updated_at: str
    notice: str = Field(
        default="", description="Where it does not reach: an analysis that has the image already."
    )


class Verdicts(BaseModel):
    """All verdicts of a job."""

    verdicts: list[Verdict]


class Change(BaseModel):
    """Something that somebody changed, with what it was before."""

    id: str
    at: str
    by: str
    by_name: str
    kind: str = Field(description="`verdict`, `correction`, `name`, `options` or `facts`.")
    job: str | None
    image: str | None
    crack: int | None
    before: dict[str, Any] | None
    after: dict[str, Any]


class ChangePage(BaseModel):
    """Some changes of a survey, the latest first."""

    changes: list[Change]
    next: str | None


Place = Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]],
                  Field(min_length=2, max_length=2, description="Row and column, px.")]  # fmt: skip


class NewEdit(BaseModel):
    """One edit of an image's list of cracks; which place it needs depends on its kind."""

    model_config = STRICT

    kind: Literal[
        "draw", "redraw", "erase", "split", "join",
        "joint", "other_line", "not_a_crack", "crack", "structure", "ignore",
    ]  # fmt: skip
    line: list[Place] | None = Field(
        default=None,
        max_length=2000,
        description="Of `draw`, `redraw`, and of `join` from crack to crack.",
    )
    area: list[Place] | None = Field(
        default=None, max_length=2000, description="Of `erase`, `structure` and `ignore`."
    )
    point: Place | None = Field(
        default=None,
        description="Of `redraw`, `split`, `joint`, `other_line`, `not_a_crack`, `crack`.",
    )
    snap: bool | None = Field(default=None, description="False: a line stays as it is drawn.")


class Edits(BaseModel):
    """What inspectors changed of an image's list of cracks, in their order."""

    edits: list[dict[str, Any]] = Field(description="As in `corrections.json`.")
    cracks: int = Field(description="On the list after them, with what is also marked.")
    notice: str = Field(
        default="", description="What the edit did besides, such as a verdict that it opened."
    )


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """Work is taken in and done."""

    status: str
    workers: int


class ModelInfo(BaseModel):
    """What a model says of itself."""

    name: str
    version: str
    network: str
    sha256: str
    threshold: float
    tile_px: int
    intended_use: str
    limits: str
    data: list[dict[str, Any]]
    scores: dict[str, Any]


class ModelList(BaseModel):
    """The models that analyze."""

    models: list[ModelInfo]


class Quota(BaseModel):
    """A tenant's limits, and how much of them is used."""

    used_mb: float
    queued_images: int
    max_image_mb: int
    max_image_megapixels: float
    max_survey_images: int
    max_tenant_mb: int
    max_queued_images: int


class ProblemBody(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, Any]] | None = None
