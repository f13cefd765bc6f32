"""The names that several catalogs hold between them: what may be referred to, and who claims what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from registry.names import fold, nearest
from registry.reading.faults import FaultList, hint, key_path, shown
from registry.reading.yaml_nodes import ListNode, MapNode, Node, ScalarNode


class KnownNames:
    """Names of all catalogs read so far, each layer over those before. Names of faulty entries count too,
    so that one fault does not bring others."""

    def __init__(self) -> None:
        self.sources: dict[str, None] = {}
        self.tokenizers: dict[str, None] = {}
        self.models: dict[str, None] = {}
        self._alias_of: dict[str, str] = {}  # every folded name of a model -> its alias
        self._claims: dict[str, list[str]] = {}  # alias -> its folded names

    def add_models(self, section: MapNode, faults: FaultList) -> None:
        """Take in a file's models. A name that two of them claim is a fault."""
        for alias in section.items:
            for name in self._claims.pop(alias, ()):  # an entry replaces the earlier one whole
                del self._alias_of[name]
        for alias, node in section.items.items():
            self.models[alias] = None
            self._claims[alias] = []
            for name, line, path in _claims(alias, node, section.key_lines[alias]):
                owner = self._alias_of.setdefault(fold(name), alias)
                if owner == alias:
                    self._claims[alias].append(fold(name))
                    continue
                remedy = (
                    "" if owner in section.items else f"; to replace its entry, call yours {shown(owner)}"
                )
                faults.add(line, path, f"{shown(name)} already names model {shown(owner)}{remedy}")

    def check_models(self, section: MapNode, faults: FaultList) -> None:
        """Every tokenizer that a model names has to exist."""
        for alias, node in section.items.items():
            if isinstance(node, MapNode) and "tokenizer" in node.items:
                path = key_path(key_path("models", alias), "tokenizer")
                _check_reference(node.items["tokenizer"], "tokenizer", self.tokenizers, path, faults)

    def check_head(self, node: MapNode, path: str, faults: FaultList) -> None:
        """A head's two models and its source have to exist, and the models have to differ."""
        self._check_model(node.items.get("source"), f"{path}.source", faults)
        self._check_model(node.items.get("target"), f"{path}.target", faults)
        _check_reference(node.items.get("from"), "source", self.sources, f"{path}.from", faults)

    def _check_model(self, node: Node | None, path: str, faults: FaultList) -> None:
        if not isinstance(node, ScalarNode) or node.text in self.models:
            return
        alias = self._alias_of.get(fold(node.text))
        if alias is not None:
            faults.add(node.line, path, f"{shown(node.text)} is no alias{hint([alias])}")
        else:
            near = _near(node.text, self._alias_of, faults)
            aliases = dict.fromkeys(self._alias_of[name] for name in near)
            faults.add(node.line, path, f"{shown(node.text)} is no model{hint(aliases)}")


def _claims(alias: str, node: Node, line: int) -> Iterator[tuple[str, int, str]]:
    """Every name a model's entry claims, with its line and path."""
    path = key_path("models", alias)
    yield alias, line, path
    if not isinstance(node, MapNode):
        return
    listed = node.items.get("aliases")
    if isinstance(listed, ListNode):
        for index, item in enumerate(listed.items):
            if isinstance(item, ScalarNode):
                yield item.text, item.line, f"{path}.aliases[{index}]"
    hub = node.items.get("hub")
    if isinstance(hub, ScalarNode):
        yield hub.text, hub.line, f"{path}.hub"


def _check_reference(
    node: Node | None, kind: str, known: Mapping[str, object], path: str, faults: FaultList
) -> None:
    if isinstance(node, ScalarNode) and node.text not in known:
        near = hint(_near(node.text, known, faults))
        faults.add(node.line, path, f"{shown(node.text)} is no {kind}{near}")


def _near(name: str, known: Mapping[str, object], faults: FaultList) -> tuple[str, ...]:
    return nearest(name, known) if faults.may_suggest(len(known)) else ()
