"""The contract between client and server: `.proto` files and the modules generated from them.

`make gen` regenerates the modules; nothing here is written by hand except the `.proto` files.
"""
