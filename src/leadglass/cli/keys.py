"""leadglass keys: the state of the keys."""

import typer

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _keys() -> None:
    pass


@app.command(epilog="Example:  leadglass keys status --json")
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say where the root key comes from, which key-encryption key is current, and how many study keys there are."""
    with in_house(home) as (house, me):
        facts = house.administration.keys_status(me)
    say(facts, as_json=as_json, text="\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))
