"""greenroom directions: what is stored, what it is worth, and to and from other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.directions import Direction

app = typer.Typer(name="directions", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def directions(context: typer.Context) -> None:
    """List, show, compare, export, import and remove directions.

    \b
    Examples:
      greenroom directions list
      greenroom directions show assistant
      greenroom directions export humor humor.gguf
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Stored directions, or .safetensors files.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A stored direction, or a .safetensors file.")]
OfModel = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Of this model: its name or fingerprint, as list shows them."),
]
Block = Annotated[int | None, typer.Option("--layer", metavar="N", help="This block instead of the chosen one.")]


@app.command("list")
def list_stored(model: OfModel = None, plain: options.Plain = False, as_json: options.AsJson = False) -> None:
    """List the stored directions: those shipped for smollm2, and those in the cache.

    The AUC says how often a reply of the one pole lies above one of the other: with its instruction in the context, and
    (cold) without it, as anybody's text is read. 0.5 is chance.

    \b
    Examples:
      greenroom directions list
      greenroom directions list --model smollm2 --json
    """
    from greenroom.directions.stored import shelf

    rows = [_summary(one) for _, one in shelf() if model is None or model in (one.subject, one.fingerprint)]
    if as_json:
        print_json(rows)
    else:
        heads = ("name", "kind", "model", "block", "auc", "auc cold", "reliable")
        shown = [
            [row["name"], row["kind"], row["model"], row["layer"], _auc_text(row), _auc_text(row, "cold_auc"),
             "yes" if row["reliable"] else "no"]
            for row in rows
        ]  # fmt: skip
        print_rows(heads, shown, plain=plain)


@app.command()
def show(name: Name, model: OfModel = "smollm2", as_json: options.AsJson = False) -> None:
    """Show what is known of a direction: block, scale, sign test, validity, recipe.

    \b
    Examples:
      greenroom directions show assistant
      greenroom directions show runs/mine/directions/assistant_axis.safetensors --json
    """
    from greenroom.directions.verdict import verdict

    direction = _found(name, model)
    scale = direction.calibration.get(direction.layer)
    card = direction.card()
    if as_json:
        # The calibration of every block is long; the file has it.
        print_json({**card, "calibration": card["calibration"].get(str(direction.layer))})
        _flag(direction)
        return
    test = direction.sign_test
    lines = {
        "name": f"{direction.name} ({direction.kind})",
        "model": f"{direction.subject} ({direction.fingerprint})",
        "blocks": f"{min(direction.vectors)}…{max(direction.vectors)}, chosen {direction.layer}",
        "held-out AUC": f"{_auc_text(direction.validity)}{'' if direction.reliable else ', unreliable'}",
        "read cold": _auc_text(direction.validity, "cold_auc"),
        "points to": "never tested" if test is None
        else f"{test.towards} ({test.towards_mean:+.2f}), away from {test.away} ({test.away_mean:+.2f})",
        "1 sd": "not calibrated" if scale is None
        else f"{scale.reply_sd:.2f} residual units ({scale.n_replies} default replies of {scale.reply_tokens} tokens)",
    }  # fmt: skip
    if scale is not None:
        lines["default:p25"] = f"{(scale.token_quantiles['p25'] - scale.reply_mean) / scale.reply_sd:+.2f} sd"
        floors = scale.rollout_token_quantiles
        if floors:
            lines["rollouts:p25"] = f"{(floors['p25'] - scale.reply_mean) / scale.reply_sd:+.2f} sd"
    lines["method"] = str(direction.recipe.get("method", "unknown"))
    for head, text in lines.items():
        typer.echo(f"{head:<14}{text}")
    if direction.kind == "trait":
        typer.echo(f"{'for reading':<14}{verdict(direction)}.")
    _flag(direction)


@app.command()
def compare(
    names: Names,
    model: OfModel = "smollm2",
    layer: Block = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Cosines between directions, each row at its own chosen block unless --layer is given.

    \b
    Examples:
      greenroom directions compare assistant humor malice
      greenroom directions compare assistant my.safetensors --layer 19
    """
    from greenroom.directions.exchange import cosines

    if len(names) < 2:
        raise typer.BadParameter("name at least two directions")
    directions = [_found(name, model) for name in names]
    table = cosines(directions, layer)
    if as_json:
        blocks = [one.layer if layer is None else layer for one in directions]
        print_json({"names": [one.name for one in directions], "layers": blocks, "cosines": table})
        return
    heads = ("", "block", *(one.name for one in directions))
    rows = [
        [one.name, one.layer if layer is None else layer, *("–" if value is None else f"{value:+.2f}" for value in row)]
        for one, row in zip(directions, table, strict=True)
    ]
    print_rows(heads, rows, plain=plain)


@app.command("export")
def export_direction(
    name: Name,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A .gguf or .safetensors file to write.")],
    model: OfModel = "smollm2",
    layers: Annotated[
        str, typer.Option(metavar="BLOCKS", help="Blocks of a .gguf: auto, 18, or 18:22, which is 18 to 21.")
    ] = "auto",
    architecture: Annotated[
        str | None,
        typer.Option(help="Model type written into a .gguf, such as llama; without it the model is loaded to ask."),
    ] = None,
) -> None:
    """Write a direction to a file: .gguf for llama.cpp and repeng, .safetensors for Greenroom.

    In a .gguf a vector is one standard deviation long, so a strength of 2 there is +2 here.

    \b
    Examples:
      greenroom directions export humor humor.gguf --layers 26:28
      greenroom directions export assistant axis.safetensors
    """
    from greenroom.directions.exchange import write_gguf

    direction = _found(name, model)
    if out.suffix == ".safetensors":
        direction.save(out)
    elif out.suffix == ".gguf":
        if architecture is None:
            from greenroom.subject import load

            architecture = str(load(direction.subject).network.config.model_type)
        write_gguf(direction, out, architecture, layers=layers)
    else:
        raise typer.BadParameter(f"{out} must end in .gguf or .safetensors")
    typer.echo(f"{direction.name} written to {out}")
    _flag(direction)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Directions in the cache, as list names them.")],
    model: OfModel = "smollm2",
) -> None:
    """Remove stored directions from the cache.

    Nothing is asked. Directions that ship with the package stay. An axis and a trait of the library are built again when
    they are next asked for; an imported direction, or one made with --describe, has to be made again.

    \b
    Examples:
      greenroom directions remove talks_like_a_pirate
      greenroom directions remove my_axis old_axis --model Qwen/Qwen3-0.6B
    """
    from greenroom.directions.removal import remove as removed

    # All are looked up before the first goes, so that a mistake removes nothing.
    for path in removed([_found(name, model, stored_only=True) for name in dict.fromkeys(names)]):
        typer.echo(f"removed {path}")


@app.command("import")
@options.on_model()
def import_direction(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .gguf, .pt or .safetensors file.")],
    model: options.Model,
    name: Annotated[
        str | None, typer.Option(help="Name to store it under [default: the file's].", show_default=False)
    ] = None,
    means: Annotated[
        str | None,
        typer.Option(
            help="What it points to, for the sign test: assistant or a trait of the library [default: its name].",
            show_default=False,
        ),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Turn the vectors round.")] = False,
    layer: Block = None,
    experiment: Annotated[
        str | None, typer.Option(help="Which experiment of an assistant-axis capping config.", show_default=False)
    ] = None,
    replies: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Default replies that give the scale.")
    ] = 200,
    force: Annotated[bool, typer.Option("--force", help="Take a direction that was made for other weights.")] = False,
    seed: options.Seed = 0,
) -> None:
    """Take over a direction from a file and store it for a model.

    Vectors of other tools (.gguf of llama.cpp or repeng, .pt of assistant-axis or persona_vectors) get a scale from
    the model's default replies and a sign test; that takes minutes. A .pt is never unpickled.

    \b
    Examples:
      greenroom directions import theirs.gguf --name jokes --means humor
      greenroom directions import assistant_axis.pt Qwen/Qwen3-0.6B --name published_axis --means assistant
    """
    from greenroom.directions.adoption import taken
    from greenroom.directions.stored import store

    direction = taken(
        model.load(), file, name=name, means=means, flip=flip, layer=layer, experiment=experiment, replies=replies,
        force=force, seed=seed, tell=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    typer.echo(f"{direction.name} stored as {store(direction)}")


def _found(name: str, model: str | None, *, stored_only: bool = False) -> Direction:
    """A stored direction or one in a file, without loading its model."""
    from greenroom.directions import Direction
    from greenroom.directions.stored import shelf
    from greenroom.errors import DirectionError

    if name.endswith(".safetensors") and not stored_only:
        return Direction.load(Path(name))
    wanted = "assistant_axis" if name == "assistant" else name
    found = [
        one for _, one in shelf() if one.name == wanted and (model is None or model in (one.subject, one.fingerprint))
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DirectionError(
            f"no direction {name!r} is stored for {model}; greenroom directions list shows those there are"
        )
    prints = ", ".join(one.fingerprint for one in found)
    raise DirectionError(f"{name!r} is stored for several weights of {model} ({prints}); give one of them as --model")


def _flag(direction: Direction) -> None:
    """One line on stderr where a direction is unreliable."""
    from greenroom.directions.verdict import warning

    unsure = warning(direction)
    if unsure is not None:
        typer.echo(f"note: {unsure}", err=True)


def _summary(direction: Direction) -> dict[str, object]:
    known = direction.validity
    aucs = [f"{name}{end}" for name in ("auc", "cold_auc") for end in ("", "_low", "_high")]
    return {
        "name": direction.name, "kind": direction.kind, "model": direction.subject,
        "fingerprint": direction.fingerprint, "layer": direction.layer, "reliable": direction.reliable,
        **{name: known.get(name) for name in aucs},
    }  # fmt: skip


def _auc_text(row: Mapping[str, object], name: str = "auc") -> str:
    from greenroom.directions.verdict import auc_said

    return "–" if row.get(name) is None else auc_said(row, name)
