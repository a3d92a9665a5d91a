"""The suffix of a file becomes what is known of it: a photograph, no photograph, or what else.

The lists are open at one end alone: what stands in none of them is looked into, and named where it
turns out to be nothing that is known (``crackseg.inputs``). So a kind that is missing here is a
line too many on the screen, never a photograph too few.
"""

from __future__ import annotations

from pathlib import Path

from crackseg.imagery.files import RAW_SUFFIXES

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff"}
_HEIF = {".heic", ".heif", ".hif", ".avif"}
_FOREIGN = {  # pictures all the same
    ".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".jxl", ".jxr",
    ".wdp", ".hdp", ".jps", ".insp", ".heics", ".heifs", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm",
    ".pam", ".pfm", ".pcx", ".sgi", ".tga", ".psd", ".psb", ".xcf", ".kra", ".ora", ".exr", ".dpx",
    ".fits", ".qoi", ".bpg", ".flif", ".ecw", ".sid",
}  # fmt: skip
PICTURES = SUFFIXES | RAW_SUFFIXES | _HEIF | _FOREIGN
COPIES = {".thm", ".bak", ".tmp", ".ovr"}  # of a picture beside them, where they are pictures
_VIDEOS = {
    ".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mts", ".m2ts", ".wmv", ".3gp", ".insv", ".mpg",
    ".mpeg", ".webm", ".lrv", ".360", ".flv", ".ogv", ".mxf",
}  # fmt: skip
_ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".kmz", ".iso"}
_DOCUMENTS = {  # what has room for photographs
    ".pdf", ".xps", ".svg", ".svgz", ".ai", ".eps", ".ps", ".cdr", ".indd", ".dwg", ".vsd", ".vsdx",
    ".doc", ".docx", ".docm", ".odt", ".rtf", ".pages", ".ppt", ".pptx", ".pptm", ".odp",
    ".odg", ".xls", ".xlsx", ".xlsm", ".ods", ".numbers", ".eml", ".msg", ".mht", ".epub",
}  # fmt: skip
_DOWNLOADS = {
    ".crdownload", ".download", ".part", ".partial", ".opdownload", ".!ut", ".bc!", ".aria2",
    ".filepart",
}  # fmt: skip
_PLACEHOLDERS = {".icloud", ".nextcloud", ".owncloud"}
PLACEHOLDER = "a placeholder of a file in a cloud; download the file itself"
REASONS = {  # suffix -> why a file is passed over by name, whatever it holds
    **dict.fromkeys(_VIDEOS, "a video; take stills from it"),
    **dict.fromkeys(_ARCHIVES, "an archive; unpack it first"),
    **dict.fromkeys(
        _DOCUMENTS, "a document or drawing; save photographs that it holds as JPEG or TIFF"
    ),
    **dict.fromkeys(
        _DOWNLOADS,
        "an unfinished download by its suffix; fetch it again, or rename it if it is whole",
    ),
    **dict.fromkeys(_PLACEHOLDERS, PLACEHOLDER),
}
NO_PICTURES = {
    f".{suffix}"
    for line in (
        "txt text md markdown rst log csv tsv nfo json jsonl ndjson toml yaml yml ini cfg conf xml",
        "xsd xsl html htm xhtml css js mjs ts map py pyc ipynb r sh bat cmd ps1 c h cpp java tex",
        "bib sql diff patch j2 srt vtt ics vcf torrent",  # text and programs
        "xmp aae pp3 dop on1 cos nksc vrd lcp icc icm cube lrcat",  # what editors keep beside
        "tfw jgw jpw jpgw pgw pngw tifw tfwx wld prj qpj cpg shp shx dbf sbn sbx qix qmd qml qgs",
        "qgz gpkg gpx kml gml geojson dxf lyr lyrx mxd aprx",  # places
        "las laz ply xyz pts e57 obj mtl stl fbx gltf glb ifc psx",  # shapes in space
        "mrk nav obs ubx",  # flights
        "db db3 sqlite sqlite3 mdb accdb npy npz parquet arrow feather pkl onnx safetensors",
        "exe dll so dylib msi apk deb rpm jar lnk url webloc desktop lock swp",
        "ttf otf woff woff2 eot",
        "mp3 wav flac aac ogg oga m4a wma aiff aif opus amr",
        "md5 sha1 sha256 sha512 sfv sig asc pem crt",
    )
    for suffix in line.split()
} | COPIES  # fmt: skip
JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
# Of systems: thumbnails, resource forks, what was deleted.
JUNK_FOLDERS = {
    "__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information",
}  # fmt: skip


def is_of_system(name: str) -> bool:
    """Return whether a file or folder is called as what systems leave beside those of people.

    That is ``._a.jpg``, in which macOS keeps what else it knows of ``a.jpg`` on foreign disks and
    in archives: the suffix says nothing of what it holds.
    """
    return name.startswith("._") or name.lower() in JUNK | JUNK_FOLDERS


def all_below(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what lies below a folder by a pattern, in order, without what systems left there."""
    paths = sorted(folder.rglob(pattern))
    return [p for p in paths if not any(map(is_of_system, p.relative_to(folder).parts))]
