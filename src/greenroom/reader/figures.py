"""Figures for notebooks: the turns of conversations on the assistant axis, and a posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from greenroom.report.parts import palette

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from greenroom.reader.posterior.posterior import Posterior

NONE = "none of these"


def reading_lines(records: Sequence[dict[str, Any]]) -> go.Figure:
    """A line for each conversation, where its turns lie on the assistant axis; hover shows the conversation, its verdict
    and the turn's topic. records: those of `greenroom.read`."""
    import plotly.graph_objects as go

    teal, rust, stone, ink = (_light(name) for name in ("teal", "rust", "stone", "ink"))
    colours = {"departed": rust, "drifting": rust, "returned": stone, "steady": teal, "uncalibrated": stone}
    figure = go.Figure()
    for record in records:
        turns = [turn for turn in record["turns"] if turn["axis_sd"] is not None]
        figure.add_scatter(
            x=[turn["turn"] for turn in turns],
            y=[turn["axis_sd"] for turn in turns],
            mode="lines+markers",
            line={"color": colours[record["verdict"]], "width": 1.5},
            marker={"size": 5},
            name=f"{record['source']} {record['index']}",
            text=[turn["topic"] or "" for turn in turns],
            hovertemplate=f"{record['source']} {record['index']}, {record['verdict']}<br>"
            "turn %{x}: %{y:.2f} sd<br>%{text}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": ink, "width": 1}, annotation_text="default character")
    figure.update_layout(
        showlegend=False, template="simple_white", xaxis_title="turn", yaxis_title="assistant axis, sd"
    )
    return figure


def posterior_shares(posterior: Posterior) -> go.Figure:
    """Bars for one text, areas over its sentences or turns; what is not among the top contexts and not "none of these"
    is drawn as "others"."""
    return _areas(posterior) if posterior.steps else _bars(posterior)


def _bars(posterior: Posterior) -> go.Figure:
    import plotly.graph_objects as go

    figure, top = go.Figure(), posterior.top()[::-1]
    figure.add_bar(
        x=[posterior.none_of_these, *(one.probability for one in top)],
        y=[NONE, *(one.context for one in top)],
        orientation="h",
        marker_color=[_light("stone"), *(_light("teal") for _ in top)],
        customdata=[None, *(one.bits_per_token for one in top)],
        hovertemplate="%{y}: %{x:.2f}<br>%{customdata:+.2f} bits a token<extra></extra>",
    )
    figure.update_layout(template="simple_white", xaxis_title="probability", xaxis_range=[0, 1])
    return figure


def _areas(posterior: Posterior) -> go.Figure:
    import plotly.graph_objects as go

    shades = (_light("teal"), _light("rust"), "#5b6c9e", "#a8842c", "#7d5a86")
    by_context = [{one.context: one.probability for one in step.estimates} for step in posterior.steps]
    # Who led at any step is drawn, though it may have lost in the end.
    leading = [one.context for step in (*posterior.steps, posterior) for one in step.top(1)]
    names = list(dict.fromkeys([*leading, *(one.context for one in posterior.top())]))[: len(shades)]
    areas = [(name, [step[name] for step in by_context]) for name in names]
    areas.append((NONE, [step.none_of_these for step in posterior.steps]))
    areas.append(("others", [max(0.0, 1 - sum(at)) for at in zip(*(values for _, values in areas), strict=True)]))
    colours = (*shades[: len(names)], _light("stone"), "#d8d3c8")
    figure = go.Figure()
    for (name, values), colour in zip(areas, colours, strict=True):
        figure.add_scatter(
            x=list(range(1, len(values) + 1)), y=values, name=name, stackgroup="one", mode="lines",
            line={"color": colour, "width": 1},
        )  # fmt: skip
    figure.update_layout(
        template="simple_white", xaxis_title=posterior.by or "turn", yaxis_title="probability", yaxis_range=[0, 1]
    )
    return figure


def _light(name: str) -> str:
    """A colour of the report, as in its light theme."""
    return palette()["colours"][name][0]
