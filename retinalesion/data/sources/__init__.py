"""Published layouts: the only code that knows how a set lies on disk."""

from collections.abc import Mapping

from retinalesion.data.photograph import Source
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.sources.retinal_lesions import RetinalLesionsSource
from retinalesion.data.synthetic import SyntheticSource

# By the name that `prepare` takes; the arguments of a source are those of its command.
SOURCES: Mapping[str, type[Source]] = {
    "idrid": IdridSource,
    "retinal-lesions": RetinalLesionsSource,
    "folder": FolderSource,
    "synthetic": SyntheticSource,
}
