"""What the configuration can ask for, and what is wrong with one that asks for something else.

A field whose name ends in `?` here can be left out.
"""

from wit_world.exports.configuration import Fault


def text(value, at):
    return [] if isinstance(value, str) else [Fault(at, "has to be text")]


def whole(most):
    """A whole number; True is none, though Python has it as 1."""

    def check(value, at):
        fits = type(value) is int and 0 <= value <= most
        return [] if fits else [Fault(at, f"has to be a whole number of at most {most}")]

    return check


def number(value, at):
    return [] if type(value) in (int, float) else [Fault(at, "has to be a number")]


def one_of(*names):
    def check(value, at):
        return [] if value in names else [Fault(at, "has to be one of " + ", ".join(names))]

    return check


def list_of(check):
    def check_all(values, at):
        if not isinstance(values, list):
            return [Fault(at, "has to be a list")]
        return [fault for i, value in enumerate(values) for fault in check(value, f"{at}/{i}")]

    return check_all


def pair(value, at):
    """A name and its value."""
    found = list_of(text)(value, at)
    return found if found or len(value) == 2 else [Fault(at, "has to be a name and a value")]


def record(fields):
    """An object of these fields."""
    known = {name.rstrip("?"): check for name, check in fields.items()}

    def check(value, at):
        if not isinstance(value, dict):
            return [Fault(at, "has to be an object")]
        missing = [name for name in fields if not name.endswith("?") and name not in value]
        found = [Fault(at, f"lacks the field `{name}`") for name in missing]
        for name, given in value.items():
            place = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in known:
                found.append(Fault(place, "is not known: there are " + ", ".join(known)))
            elif given is not None or name in fields:
                found += known[name](given, place)
        return found

    return check


def choice(kinds):
    """An object of one field, that says which it is."""

    def check(value, at):
        if not isinstance(value, dict) or len(value) != 1:
            return [Fault(at, "has to be an object of one field, the action")]
        ((name, fields),) = value.items()
        if name not in kinds:
            return [Fault(at, f"`{name}` is no action: there are " + ", ".join(kinds))]
        return record(kinds[name])(fields, f"{at}/{name}")

    return check


def actions(values, at):
    """Actions of a stage, which can have actions in them."""
    return list_of(choice(ACTIONS))(values, at)


OF = one_of("stage", "request", "trailers")
PAIRS = list_of(pair)
U8, U16, U32, U64 = (whole(2**bits - 1) for bits in (8, 16, 32, 64))

ACTIONS = {
    "report": {"to": one_of("header", "metadata", "log", "answer", "body")},
    "when": {"header": text, "is?": text, "then": actions},
    "from_header": {"name": text},
    "set_header": {"name": text, "value": text, "of?": OF},
    "set_all_header": {"name": text, "values": list_of(text), "of?": OF},
    "append_header": {"name": text, "value": text, "of?": OF},
    "delete_header": {"name": text, "of?": OF},
    "get_header": {"name": text, "of?": OF},
    "get_all_header": {"name": text, "of?": OF},
    "set_header_bytes": {"name": text, "value": list_of(U8), "of?": OF},
    "set_method": {"method": text},
    "set_authority": {"authority": text},
    "set_path": {"path": text},
    "set_query": {"query?": text},
    "set_status": {"status": U16},
    "set_upstream_authority": {"authority": text},
    "set_timeout": {"milliseconds": U64},
    "set_retries": {"count": U32, "on": list_of(text)},
    "replace_body": {"text": text},
    "append_body": {"text": text},
    "upper_body": {},
    "reroute": {"route?": text, "cluster?": text, "tags?": PAIRS},
    "respond": {"status": U16, "headers?": PAIRS, "body?": text},
    "metadata_set": {"key": text, "value": text},
    "metadata_get": {"policy": text, "key": text},
    "metadata_delete": {"key": text},
    "key_value_get": {"key": text},
    "key_value_set": {"key": text, "value": text, "ttl?": U64},
    "key_value_compare_and_set": {"key": text, "expected?": U64, "value": text, "ttl?": U64},
    "key_value_delete": {"key": text},
    "log": {"level": text, "message": text},
    "annotate": {"key": text, "value": text},
    "increment": {"name": text, "labels?": PAIRS, "by": U64},
    "gauge": {"name": text, "labels?": PAIRS, "value": number},
    "observe": {"name": text, "labels?": PAIRS, "value": number},
    "http": {
        "cluster": text,
        "method?": text,
        "path": text,
        "authority?": text,
        "headers?": PAIRS,
        "body?": text,
        "timeout?": U32,
    },
    "policy_name": {},
    "random": {"length": U32},
    "clock": {},
    "trap": {},
    "fail": {"message": text},
}

BODY_ACTIONS = {
    "pass": {},
    "upper": {},
    "pass_chunks": {"count": U32},
    "write": {"text": text},
    "write_many": {"text": text, "times": U32},
    "drop": {},
    "stop": {},
    "report": {},
    "set_trailer": {"name": text, "value": text},
    "log": {"message": text},
    "metadata_set": {"key": text, "value": text},
    "write_metadata": {"policy": text, "key": text},
    "annotate": {"key": text, "value": text},
    "write_http": {"cluster": text, "path": text},
    "trap": {},
}

CONFIG = {
    "pre_route?": actions,
    "pre_upstream?": actions,
    "post_response?": actions,
    "request_body?": list_of(choice(BODY_ACTIONS)),
    "response_body?": list_of(choice(BODY_ACTIONS)),
    # What a configuration is refused with, for tests of `validate`.
    "refuse?": text,
}


def faults(config):
    """What is wrong with a configuration."""
    found = record(CONFIG)(config, "")
    if not found and config.get("refuse") is not None:
        found.append(Fault("/refuse", config["refuse"]))
    return found
