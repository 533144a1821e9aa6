"""The Hub's protocol for others: what is locked, to any Hugging Face program.

``catalogue`` what is served, under which ids and revisions · ``route`` what a request's path asks
for · ``answers`` replies, files among them · ``api`` what the API says of a repository · ``app``
the ASGI application · ``guard`` who may ask · ``protocol`` connections that cost little ·
``server`` listens, in the foreground or beside a program.
"""
