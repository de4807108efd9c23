"""Templates of pages: whatever they put out is one clean line, and escaped, without exception."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from optbench.page.safety import shown

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


@cache
def template(name: str, package: str = "optbench.page") -> jinja2.Template:
    """The template of that name in a package; it may import those of the report's page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each) for each in dict.fromkeys((package, "optbench.page"))]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(name)


def asset(name: str, package: str = "optbench.page") -> str:
    """The text of a style sheet or script of a package."""
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def _finalized(value: Any) -> Any:
    """Every text that the template puts out passes here, on its way to be escaped; our own markup is left alone."""
    return shown(value) if type(value) is str else value


def _breakable(name: str) -> Markup:
    """A name that may be broken after an underscore, where a column is narrow."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in shown(name).split("_"))
