"""leadglass devices: modalities, workstations and PACS, known by AE title and address or certificate."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from leadglass.cli.terminal import HomeOption, JsonOption, in_house, say
from leadglass.errors import Malformed

app = typer.Typer(no_args_is_help=True)
_Ae = Annotated[str, typer.Argument(metavar="AE", help="AE title, at most 16 characters.", show_default=False)]


@app.command(epilog="Example:  leadglass devices add CT1 --host 10.1.2.3")
def add(
    ae: _Ae,
    host: Annotated[str, typer.Option("--host", help="Its address, or a network such as 10.1.2.0/28.")] = "",
    port: Annotated[int, typer.Option("--port", help="Where it takes studies that are sent to it (C-MOVE).")] = 0,
    role: Annotated[str, typer.Option("--role", help="modality, workstation or pacs.")] = "modality",
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Its certificate (PEM) for DICOM TLS.")] = None,
    owner: Annotated[str, typer.Option("--owner", help="The person whose device it is.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last day, YYYY-MM-DD.")] = "",
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Register a device. Unknown devices get no answer but a reject."""
    try:
        end = datetime.strptime(until, "%Y-%m-%d").astimezone().timestamp() + 86400 if until else None
    except ValueError as e:
        raise Malformed("--until: write the day as YYYY-MM-DD.") from e
    with in_house(home) as (house, me):
        house.administration.devices_add(
            me, ae, host=host, role=role, certificate_pem=certificate.read_bytes() if certificate else None,
            owner=owner, until=end, port=port,
        )
    say({"ae_title": ae, "role": role, "state": "active"}, as_json=as_json, text=f"{ae} is registered as {role}.")


@app.command(epilog="Example:  leadglass devices issue CT1 --out ./ct1")
def issue(
    ae: _Ae,
    out: Annotated[Path, typer.Option("--out", help="Directory for the key and the certificate.")] = Path(),
    home: HomeOption = None, as_json: JsonOption = False,
) -> None:
    """Issue a certificate from the device CA and pin it to the AE title."""
    out.mkdir(parents=True, exist_ok=True)  # first: the certificate before ends with the new one
    with in_house(home) as (house, me):
        issued = house.administration.devices_issue(me, ae)
    paths = {"key": out / f"{ae}.key.pem", "certificate": out / f"{ae}.crt.pem", "ca": out / "device-ca.pem"}
    paths["key"].touch(mode=0o600, exist_ok=True)
    paths["key"].write_bytes(issued.private_key_pem)
    paths["certificate"].write_bytes(issued.certificate_pem)
    paths["ca"].write_bytes(issued.ca_pem)
    facts = {name: str(path) for name, path in paths.items()}
    say(facts, as_json=as_json, text="\n".join(f"{name}: {path}" for name, path in facts.items()))


@app.command("list", epilog="Example:  leadglass devices list --json")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List devices."""
    with in_house(home) as (house, me):
        rows = house.administration.devices_list(me)
    if as_json:
        say(rows, as_json=True, text="")
        return
    table = Table(Column("AE title", no_wrap=True), "Role", Column("Host", overflow="fold"), "Port",
                  "Cert.", "Owner", Column("Until", overflow="fold"), "State")
    for row in rows:
        until = datetime.fromtimestamp(row["until"] - 1).astimezone().strftime("%Y-%m-%d") if row["until"] else ""
        table.add_row(
            row["ae_title"], row["role"], row["host"] or "any", str(row["port"] or "none"),
            row["certificate_sha256"][:8] or "none", row["owner"], until, row["state"])
    Console().print(table)


@app.command(epilog="Example:  leadglass devices echo WS1")
def echo(ae: _Ae, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Call a device (C-ECHO): is it there, does it know us? Says what is wrong, and what to do."""
    from leadglass.dimse.requestor import echo as call

    with in_house(home) as (house, me):
        began = time.monotonic()
        there = call(house, me, ae)
        milliseconds = round((time.monotonic() - began) * 1000)
    how = "TLS, with the registered certificate" if there.pinned else "in clear"
    facts = {"ae_title": ae, "host": there.host, "port": there.port, "tls": there.pinned is not None,
             "milliseconds": milliseconds}
    say(facts, as_json=as_json, text=f"{ae} answers at {there.host} port {there.port} ({how}), in {milliseconds} ms.")


@app.command(epilog="Example:  leadglass devices revoke CT1")
def revoke(ae: _Ae, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a device's access now, open associations too."""
    with in_house(home) as (house, me):
        house.administration.devices_revoke(me, ae)
    say({"ae_title": ae, "state": "revoked"}, as_json=as_json, text=f"{ae} is revoked.")
