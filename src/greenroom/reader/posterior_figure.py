"""A posterior drawn: bars for one text, areas over its sentences or turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from greenroom.reader.posterior import Posterior

TEAL, STONE = "#1b7f79", "#8a8578"
SHADES = ("#1b7f79", "#b4512e", "#5b6c9e", "#a8842c", "#7d5a86")
NONE = "none of these"


def figure(posterior: Posterior) -> go.Figure:
    """A Plotly figure; what is not among the top contexts and not "none of these" is drawn as "others"."""
    import plotly.graph_objects as go

    drawn = go.Figure()
    if not posterior.steps:
        top = posterior.top()[::-1]
        drawn.add_bar(
            x=[posterior.none_of_these, *(one.probability for one in top)],
            y=[NONE, *(one.context for one in top)],
            orientation="h",
            marker_color=[STONE, *(TEAL for _ in top)],
            customdata=[None, *(one.bits_per_token for one in top)],
            hovertemplate="%{y}: %{x:.2f}<br>%{customdata:+.2f} bits a token<extra></extra>",
        )
        drawn.update_layout(template="simple_white", xaxis_title="probability", xaxis_range=[0, 1])
        return drawn
    shares = [{one.context: one.probability for one in step.estimates} for step in posterior.steps]
    # Who led at any step is drawn, though it may have lost in the end.
    leading = [one.context for step in (*posterior.steps, posterior) for one in step.top(1)]
    names = list(dict.fromkeys([*leading, *(one.context for one in posterior.top())]))[: len(SHADES)]
    steps = list(range(1, len(shares) + 1))
    drawn_shares = [(name, [share[name] for share in shares]) for name in names]
    drawn_shares.append((NONE, [step.none_of_these for step in posterior.steps]))
    others = [max(0.0, 1 - sum(values[at] for _, values in drawn_shares)) for at in range(len(steps))]
    shades = (*SHADES[: len(names)], STONE, "#d8d3c8")
    for (name, values), shade in zip([*drawn_shares, ("others", others)], shades, strict=True):
        drawn.add_scatter(
            x=steps, y=values, name=name, stackgroup="one", mode="lines", line={"color": shade, "width": 1}
        )
    drawn.update_layout(
        template="simple_white", xaxis_title=posterior.by or "turn", yaxis_title="probability", yaxis_range=[0, 1]
    )
    return drawn
