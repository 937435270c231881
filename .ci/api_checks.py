"""What counts as a failure of the server, where a 5xx may be the truth about a device."""

import schemathesis


@schemathesis.check
def no_failure_of_the_server(ctx, response, case):
    """A recorder that does not answer, or leaves while it is asked, is the one thing that a 5xx may tell of."""
    if response.status_code < 500:
        return
    of_recorders = {(504, "recorder_rpc_timeout"), (504, "recorder_outcome_unknown"), (503, "command_not_sent")}
    told = (response.status_code, response.json().get("code"))
    assert told in of_recorders, f"answered with {response.status_code}: {response.text[:500]}"
