"""What counts as a failure of the server, where a 5xx may be the truth about a device, and what is no wrong request."""

import schemathesis


@schemathesis.hook
def filter_query(context, query):
    """A value with nothing in it is as good as none; an object without keys is sent as such a value, and meant as a wrong one."""
    return all(value not in ("", {}, []) for value in (query or {}).values())


@schemathesis.check
def no_failure_of_the_server(ctx, response, case):
    """A recorder that does not answer, or leaves while it is asked, and a push to a cloud that there is not, are all that a 5xx may tell of."""
    if response.status_code < 500:
        return
    true = {(504, "recorder_rpc_timeout"), (504, "recorder_outcome_unknown"), (503, "command_not_sent"), (503, "sync_not_configured")}
    told = (response.status_code, response.json().get("code"))
    assert told in true, f"answered with {response.status_code}: {response.text[:500]}"
