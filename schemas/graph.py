"""Plain graph work on node ids: order, cycles, reach; linear, iterative. Used by validator, repair and layout."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush

Pair = tuple[str, str]
Adjacency = Mapping[str, Sequence[str]]


def adjacency(ids: Iterable[str], pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """Targets by source; pairs with an unknown end are left out."""
    targets: dict[str, list[str]] = {node: [] for node in ids}
    for source, target in pairs:
        if source in targets and target in targets:
            targets[source].append(target)
    return targets


def reachable(targets: Adjacency, starts: Iterable[str]) -> set[str]:
    """Every node on a path from one of `starts`, these included."""
    seen = set(starts)
    queue = deque(seen)
    while queue:
        fresh = [node for node in targets.get(queue.popleft(), ()) if node not in seen]
        seen.update(fresh)
        queue.extend(fresh)
    return seen


def order(targets: Adjacency) -> list[str]:
    """Nodes so that every edge points forward, else as given (Kahn); nodes on or behind a cycle are left out."""
    names = list(targets)
    rank = {node: index for index, node in enumerate(names)}
    waits = Counter(target for nodes in targets.values() for target in nodes)
    ready = [rank[node] for node in names if not waits[node]]
    done: list[str] = []
    while ready:
        node = names[heappop(ready)]
        done.append(node)
        for target in targets[node]:
            waits[target] -= 1
            if not waits[target]:
                heappush(ready, rank[target])
    return done


def on_cycles(targets: Adjacency) -> set[str]:
    """The nodes that lie on a cycle or between two: what no order can place from either end."""
    left = set(targets) - set(order(targets))
    inner = {node: [target for target in targets[node] if target in left] for node in left}
    backward = adjacency(inner, ((target, node) for node, nodes in inner.items() for target in nodes))
    return left - set(order(backward))


def back_edges(targets: Adjacency, starts: Iterable[str]) -> set[Pair]:
    """The edges that close a cycle, met depth first from `starts`, then in the given order. Without them: none."""
    closing: set[Pair] = set()
    done: set[str] = set()
    for start in (*starts, *targets):
        if start not in done:
            _descend(start, targets, done, closing)
    return closing


def _descend(start: str, targets: Adjacency, done: set[str], closing: set[Pair]) -> None:
    path = {start}
    stack = [(start, iter(targets[start]))]
    while stack:
        node, rest = stack[-1]
        target = next(rest, None)
        if target is None:
            stack.pop()
            path.discard(node)
            done.add(node)
        elif target in path:
            closing.add((node, target))
        elif target not in done:
            path.add(target)
            stack.append((target, iter(targets[target])))


def depths(targets: Adjacency) -> dict[str, int]:
    """Steps on the longest way to each node of an acyclic graph."""
    depth = dict.fromkeys(targets, 0)
    for node in order(targets):
        for target in targets[node]:
            depth[target] = max(depth[target], depth[node] + 1)
    return depth
