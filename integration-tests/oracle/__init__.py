"""TraceQL a second time, as plainly as the language's rules can be written: what an answer has to be.

Traces and queries are made at random, evaluated here one trace and one span at a time, and compared with what the server answers."""
