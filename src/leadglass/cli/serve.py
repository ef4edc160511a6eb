"""leadglass init and serve: make a home, run it."""

from typing import Annotated

import typer

from leadglass.cli.terminal import HomeOption, JsonOption, local_user, say, settings_of
from leadglass.errors import Malformed

__all__ = ["attach"]


def attach(app: typer.Typer) -> None:
    """Hang the verbs of this file on the tree."""
    app.command(epilog="Example:  leadglass init --home /srv/leadglass --hostname pacs.example.org")(init)
    app.command(epilog="Example:  leadglass serve --home /srv/leadglass --https-port 443")(serve)


def init(
    home: HomeOption = None,
    hostname: Annotated[
        str | None, typer.Option("--hostname", help="The name people type; also the passkeys' RP ID. Else localhost.")
    ] = None,
    administrator: Annotated[str, typer.Option("--administrator", help="Login name of the first administrator.")] = "admin",
    key_source: Annotated[
        str, typer.Option("--key-source", help="file:PATH, passphrase-file:PATH or credential:NAME; outside the home.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make keys, database, settings and the home's own CA; print the first administrator's one-time link (1 h).

    On a home that exists already, nothing is made anew: a fresh link is printed while no administrator has enrolled.
    """
    from leadglass.compose import Home, init_home

    settings = settings_of(home)
    is_new = init_home(settings, hostname=hostname or "localhost", key_source=key_source)
    if not is_new and hostname and hostname != settings.hostname:
        raise Malformed(
            f"this home's name is {settings.hostname}. With another name every passkey dies, and browsers must trust a new "
            f'CA. If that is what you want: set hostname = "{hostname}" in {settings.home}/leadglass.toml, restart, run '
            "leadglass trust, and invite people who have passkeys only anew (leadglass people enrol NAME).")
    opened = Home.open(settings_of(home))
    with opened.house() as house:
        me = house.entrance.local(local_user())
        link = house.administration.first_administrator(me, administrator)
    facts = {
        "home": str(settings.home), "is_new": is_new, "key_source": opened.key_source_name,
        "link": link.url if link else None, "expires_at": link.expires_at if link else None,
    }
    text = f"Home {settings.home} is {'ready' if is_new else 'here already'}. Root key: {opened.key_source_name}"
    text += "\nCopy the root key to a safe place: without it nothing here can ever be read." if is_new else ""
    if link:
        text += (
            f"\n\nOne-time link for the first administrator ({administrator}), good for 1 h:\n\n  {link.url}\n\n"
            f"It opens once the server runs. After enrolment, confirm the six digits shown there:\n"
            f"  leadglass people confirm {administrator} --home {settings.home}"
        )
    say(facts, as_json=as_json, text=text)


def serve(
    home: HomeOption = None,
    https_port: Annotated[int | None, typer.Option("--https-port", min=0, max=65535, help="0 = any free one.")] = None,
    dicom_port: Annotated[int | None, typer.Option("--dicom-port", min=0, max=65535, help="0 = any free one.")] = None,
    dicom_tls_port: Annotated[int | None, typer.Option("--dicom-tls-port", min=0, max=65535, help="0 = any free one.")] = None,
    bind: Annotated[str | None, typer.Option("--bind", help="Address to listen on.")] = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM; writes run/ready.json when everything answers."""
    from leadglass.compose import Home
    from leadglass.compose.logs import configure_logs
    from leadglass.compose.supervisor import Supervisor

    configure_logs()
    settings = settings_of(home, https_port=https_port, dicom_port=dicom_port, dicom_tls_port=dicom_tls_port, bind=bind)
    try:
        code = Supervisor(Home.open(settings, is_server=True)).run(say=lambda text: print(text, flush=True))
    except OSError as e:
        typer.echo(
            f"leadglass: cannot listen ({e.strerror or e}). Is another server running? Choose ports with --https-port, "
            "--dicom-port, --dicom-tls-port; 0 takes any free one.", err=True)
        raise typer.Exit(1) from e
    raise typer.Exit(code)
