"""The pages of the class report: templates in report_pages/, into which Jinja puts facts, escaped."""
from pathlib import Path

import jinja2


def sentence(words):
    """Words with a full stop; their first letter stays, since it may be that of a name in code."""
    return words + ("" if words[-1:] in tuple(".?!") else ".")


def heading(words):
    """Words with a capital."""
    return words[:1].upper() + words[1:]


def number(value):
    """A number as one writes it."""
    return f"{value:,.10g}"


TEMPLATES = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                               loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "report_pages"))
TEMPLATES.filters.update(sentence=sentence, heading=heading, number=number)


def fill(template, **facts):
    """A page: a template with these facts in it."""
    return TEMPLATES.get_template(template).render(**facts)
