"""What a series of health checks says of an endpoint, or of one of its addresses.

It is up until it was checked, so that a start waits for nobody (nginx and HAProxy do so; Envoy sends nothing before the
first check). The first check alone decides, as with HAProxy and Envoy: what does not work from the start is out at
once. From then on it takes `fall` failures in a row to put it out, and `rise` that pass to bring it back.

    unknown ── passes ─▶ up ── `fall` failures in a row ─▶ down
       └────── fails ────────────▶ down ── `rise` that pass in a row ─▶ up
"""


class Verdict:
    """What the checks of one place have said until now.

    is_up     whether it works
    is_known  whether it was checked
    failure   why the last check failed; "": it passed
    """

    __slots__ = ("_run", "failure", "is_known", "is_up")

    def __init__(self, failure: str = "", is_known: bool = False) -> None:
        """failure: what another process has found before; "": it found nothing wrong."""
        self.is_up = not failure
        self.is_known = is_known or bool(failure)
        self.failure = failure
        self._run = 0  # checks in a row that speak against it

    def __repr__(self) -> str:
        return f"<Verdict {'up' if self.is_up else 'down'}{'' if self.is_known else ', unknown'} run={self._run}>"

    def hear(self, failure: str, rise: int, fall: int) -> bool:
        """One check has failed for this reason, or has passed: "". Returns whether `is_up` has changed by that."""
        passed, was_known = not failure, self.is_known
        self.failure, self.is_known = failure, True
        if passed is self.is_up:
            self._run = 0
            return False
        self._run += 1
        if was_known and self._run < (rise if passed else fall):
            return False
        self.is_up, self._run = passed, 0
        return True
