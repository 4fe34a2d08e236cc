"""The parsers of the REST half without a database: they read what they should and refuse the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.rest import grammar, query
from devstack.rest.errors import RestError
from devstack.rest.hints import nearest
from devstack.rest.prefer import choose_media, parse_prefer
from devstack.rest.terms import Field, Filter, Item, Order, Tree


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (grammar.select, grammar.order, lambda text: grammar.comparison(Field("a"), text)):
        try:
            parse(text)
        except RestError as error:
            assert error.status == 400
    try:
        query.parse([("a", text), ("or", text), ("limit", text)], table="t", arguments=False)
    except RestError as error:
        assert error.status in (400, 416)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_quoted_list_values_come_back_as_they_were(values: list[str]) -> None:
    quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert grammar.comparison(Field("a"), f"in.({quoted})") == Filter(Field("a"), "in", tuple(values))


def test_a_logic_tree_is_read_as_written() -> None:
    one, two = Filter(Field("a"), "eq", "1"), Filter(Field("b"), "in", ("2", "3"), negated=True)
    assert grammar.tree("or", "(a.eq.1,not.and(b.not.in.(2,3)))", negated=False) == Tree(
        "or", (one, Tree("and", (two,), negated=True))
    )


@pytest.mark.parametrize(
    ("name", "expected"), [("claim_job", "claim_jobs"), ("hello_", "hello"), ("zzz", None), ("", None)]
)
def test_a_hint_names_the_nearest_or_nothing(name: str, expected: str | None) -> None:
    assert nearest(name, ["claim_jobs", "hello", "settle_job"]) == expected


@pytest.mark.parametrize(
    ("accept", "media"),
    [(None, "application/json"), ("text/html, */*;q=0.8", "application/json"),
     ("text/csv;q=0.5, application/json", "application/json"),
     ("application/vnd.pgrst.object+json; charset=utf-8", "application/vnd.pgrst.object+json")],
)  # fmt: skip
def test_the_first_media_type_that_can_be_made_is_chosen(accept: str | None, media: str) -> None:
    assert choose_media(accept) == media


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("*", Item(Field("*"))),
        ("a", Item(Field("a"))),
        ("b:a::text", Item(Field("a"), "b", "text")),
        ("a->b->>0::int", Item(Field("a", (("->", "b"), ("->>", "0"))), None, "int")),
        ("with-dash:a b", Item(Field("a b"), "with-dash")),
        ("a::timestamp with time zone", Item(Field("a"), None, "timestamp with time zone")),
        ('"a,b(c)"', Item(Field("a,b(c)"))),
    ],
)  # fmt: skip
def test_a_select_item_is_read(text: str, item: Item) -> None:
    assert grammar.select(text) == (item,)


@pytest.mark.parametrize("text", ["a,", "a::", "a::te'xt", "a:b:c", "a->", "(a)", "a;b", 'a"b', "a::text)--"])
def test_a_bad_select_is_refused(text: str) -> None:
    with pytest.raises(RestError) as refused:
        grammar.select(text)
    assert refused.value.code == "PGRST100"


@pytest.mark.parametrize("text", ["rel(a)", "...rel(a)", "x:rel!fk(a)", "a,rel!inner(b)"])
def test_a_related_table_is_refused_by_name(text: str) -> None:
    with pytest.raises(RestError) as refused:
        query.parse([("select", text)], table="jobs", arguments=False)
    assert refused.value.code == "PGRST200"
    assert "'jobs' and 'rel'" in refused.value.message


def test_an_order_is_read() -> None:
    assert grammar.order("a.desc,b.nullsfirst,c->>d.asc.nullslast") == (
        Order(Field("a"), "desc"),
        Order(Field("b"), "", "nullsfirst"),
        Order(Field("c", (("->>", "d"),)), "asc", "nullslast"),
    )


def test_plain_values_are_arguments_only_of_a_call() -> None:
    pairs = [("a", "5"), ("b", "eq.6"), ("select", "c")]
    found = query.parse(pairs, table="f", arguments=True)
    assert (found.arguments, found.where) == ((("a", "5"),), (Filter(Field("b"), "eq", "6"),))
    with pytest.raises(RestError):
        query.parse(pairs, table="t", arguments=False)


def test_preferences_may_come_in_several_headers_and_the_first_wins() -> None:
    found = parse_prefer(["return=minimal, count=exact", "return=representation,max-affected=3"])
    assert found.applied(("return", "count", "max-affected")) == {"Preference-Applied": "return=minimal, count=exact"}
    assert found.max_affected is None


def test_strict_handling_refuses_what_lenient_ignores() -> None:
    assert "return=minimal" in parse_prefer(["nonsense=1, return=minimal"])
    with pytest.raises(RestError) as refused:
        parse_prefer(["handling=strict, nonsense=1, return=everything"])
    assert refused.value.details == "Invalid preferences: nonsense=1, return=everything"
