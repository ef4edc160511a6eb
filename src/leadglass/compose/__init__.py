"""The only place that constructs: a home, its house, the server's processes.

home = Home.open(settings)         # keys, nothing else
with home.house() as house: ...    # database, archive, door: one process's own
Supervisor(home).run()             # the whole server: compose/supervisor.py, which loads both faces
"""

from leadglass.compose.home import Home, init_home

__all__ = ["Home", "init_home"]
