"""`python -m jac_orc.module_server`: serves the module MODULE_NAME on PORT until it is stopped.

The first guest starts before anything large is imported here, so that it starts up, and imports the module, while this
process imports gRPC.
"""

import gc

from jac_orc.module_server import idle_guest

if __name__ == "__main__":
    gc.disable()  # while modules are imported, nearly nothing becomes garbage
    guest = idle_guest.first()
    from jac_orc.module_server.main import main

    gc.freeze()  # what is imported stays: later collections need not look at it
    gc.enable()
    main(guest)
