"""A line for each conversation: where its turns lie on the assistant axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

TEAL, RUST, STONE, INK = "#1b7f79", "#b4512e", "#8a8578", "#1d1f21"
COLOURS = {"departed": RUST, "drifting": RUST, "returned": STONE, "steady": TEAL, "uncalibrated": STONE}


def lines(records: Sequence[dict[str, Any]]) -> go.Figure:
    """A Plotly figure; hover shows the conversation, its verdict and the turn's topic."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for record in records:
        turns = [turn for turn in record["turns"] if turn["axis_sd"] is not None]
        figure.add_scatter(
            x=[turn["turn"] for turn in turns],
            y=[turn["axis_sd"] for turn in turns],
            mode="lines+markers",
            line={"color": COLOURS[record["verdict"]], "width": 1.5},
            marker={"size": 5},
            name=f"{record['source']} {record['index']}",
            text=[turn["topic"] or "" for turn in turns],
            hovertemplate=f"{record['source']} {record['index']}, {record['verdict']}<br>"
            "turn %{x}: %{y:.2f} sd<br>%{text}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": INK, "width": 1}, annotation_text="default character")
    figure.update_layout(
        showlegend=False,
        template="simple_white",
        xaxis_title="turn",
        yaxis_title="assistant axis, sd",
    )
    return figure
