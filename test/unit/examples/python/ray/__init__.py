"""Ray is no package of Debian's."""
from . import data
