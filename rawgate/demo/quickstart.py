"""What the demo prints for a person to try: a token, and commands with the status that each gets."""

from msgspec import Struct

from rawgate.demo.credentials import Credentials
from rawgate.offline.page import Page, status_style


class Try(Struct, frozen=True):
    """A command to paste. `status`: of its last response; `why`: what it shows."""

    status: int
    why: str
    command: str


def tries(url: str, credentials: Credentials) -> tuple[Try, ...]:
    """curl commands for any shell. They read the token from $TOKEN, so that each line stays short enough to read."""
    bearer = '-H "Authorization: Bearer $TOKEN"'
    key = f'-H "X-Api-Key: {credentials.api_key}"'
    return (
        Try(401, "no token", f"curl -i {url}/api/users/7"),
        Try(200, "with it: see which path and fields the service gets", f"curl -i {url}/api/users/7 {bearer}"),
        Try(200, "a false identity does not arrive", f'curl -i {url}/api/users/7 {bearer} -H "X-User-Id: root"'),
        Try(429, "three payments, and one too many", f'curl -i "{url}/api/payments?n=[1-4]" -d pay {bearer}'),
        Try(202, "an API key; 401 without", f"curl -i {url}/hooks/orders -d order {key}"),
        Try(200, "a stream, event by event", f"curl -iN {url}/events"),
        Try(504, "a slow service", f"curl -i {url}/reports/annual"),
        Try(502, "a dead one", f"curl -i {url}/legacy/inventory"),
        Try(401, "a detour to what is not public", f"curl -i --path-as-is {url}/public/../admin"),
    )


def show_quickstart(page: Page, url: str, credentials: Credentials) -> None:
    """Print the token, the commands, and how to end."""
    page.line(page.paint(f"A gateway on {url}, and six services behind it.", "bold"))
    page.line("`rawgate demo --config` shows what it serves, `rawgate demo --once` shows you around.")
    page.line()
    page.line("In another terminal, a token for alice, good for an hour:")
    page.line()
    page.line(f"  export TOKEN={credentials.token('alice')}")
    page.line()
    page.line("Commands to paste, and what they get:")
    page.line()
    for item in tries(url, credentials):
        page.line(f"  {page.paint(str(item.status), status_style(item.status), 'bold')}  {page.paint(item.why, 'dim')}")
        page.line(f"       {item.command}")
    page.line()
    page.line("Each decision, as it is made (Ctrl-C ends):")
    page.line()
