"""The only place that constructs objects and wires them; here the server's processes start and stop.

    home = Home.open(settings)         # keys, nothing else
    with home.house() as house: ...    # database, archive, door: one process's own
    Supervisor(home).run()             # the whole server
"""

from leadglass.compose.home import Home, init_home
from leadglass.compose.supervisor import Supervisor

__all__ = ["Home", "Supervisor", "init_home"]
