"""What keeps this machine from running the switch well: findings, each with the command that mends it.

One module looks at one subject: a pure function of the machine (`host.Host`), of the process (`process.Me`) and of
what is configured (`case.Case`). What no configured port needs is a note at most.
"""
