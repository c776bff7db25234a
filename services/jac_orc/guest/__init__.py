"""The guest: the process in which a user's module lives. Standard library only, for any Python from 3.10.

`start.py` is run by path, as `python -u start.py FD SERVER_PID`, by the interpreter of the module's own environment:
nothing of the server is importable there, and of what the user's code may import only one private name is taken. So
these files import each other relatively and nothing else of this project. The server and the client share some of them:
`wire` (frames), `protowire` (messages), `python_values` and the `python_value_*` beside it (values with nothing lost).
"""
