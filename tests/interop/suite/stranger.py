"""Runs a tool of sipvicious from an address of its own: `stranger.py ADDRESS TOOL ARGUMENTS...`.

Its sockets are bound to every address, and the kernel would then send from 127.0.0.1, which is a trunk here.
"""

import importlib
import os
import shutil
import socket
import sys

bind = socket.socket.bind
address, tool = sys.argv[1:3]
sys.argv = [tool, *sys.argv[3:]]
socket.socket.bind = lambda self, at: bind(self, (address, at[1]) if at[0] in ("", "0.0.0.0") else at)
# Debian keeps it beside the program.
sys.path.insert(0, os.path.dirname(os.path.realpath(shutil.which(tool))))
importlib.import_module(f"sipvicious.{tool}").main()
