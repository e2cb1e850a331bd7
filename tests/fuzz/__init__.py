"""Hold every parser of what strangers send to one contract, by making up input for it.

Only our own refusals leave a parser, each a sentence where people read it; a case takes little time; nothing stays.
``test_parsers.py`` tries some thousands of cases in ``make test``; ``python -m tests.fuzz`` (``make fuzz``) tries a
million, guided by coverage, and keeps what it learned in ``.cache/fuzz``.
"""
