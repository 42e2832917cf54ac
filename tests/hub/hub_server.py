"""A small hub on loopback: the endpoints by which `huggingface_hub` makes, fills, lists and reads model repositories.

Files that end in .safetensors or .bin are LFS objects, kept by their sha256.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import yaml

GONE = "http://127.0.0.1:1"  # where nobody listens
TOKENS = {"token-of-jo": "jo", "token-of-eve": "eve"}  # token -> user


@dataclass
class Repository:
    """A model on this hub."""

    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)  # oldest first: id, path -> content
    names: dict[str, str] = field(default_factory=dict)  # branch or tag -> commit

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a commit with these files in all; returns its id."""
        digest = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits.append((digest, dict(files)))
        self.names["main"] = digest
        return digest

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch, a tag or a commit."""
        wanted = self.names.get(revision, revision)
        return next((each for each in self.commits if each[0] == wanted), None)


class HubServer(ThreadingHTTPServer):
    """Runs in a thread from `with` on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # sha256 -> content
        self.uploads: list[str] = []  # sha256 of every PUT, in order
        self.asked: list[tuple[str, str]] = []  # method and path of every request
        self.broken: set[str] = set()  # parts of paths that answer 403
        self.before_commit: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """What HF_ENDPOINT would be."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], **flags: bool) -> Repository:
        """A repository that is there."""
        repository = self.repositories[name] = Repository(**flags)
        repository.commit(files)
        return repository

    def head(self, name: str) -> dict[str, bytes]:
        """The newest files of a repository."""
        return self.repositories[name].commits[-1][1] if self.repositories[name].commits else {}

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does before `huggingface_hub` is imported."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((method, path))
        self.body = self._read()
        try:
            if any(part in path for part in self.server.broken):
                raise _RefusedError(403, message="You do not have the rights")
            for pattern, verbs, name in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method in verbs:
                    getattr(self, name)(*found.groups())
                    return
            raise _RefusedError(404, message=f"no {method} {path}")
        except _RefusedError as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(b"{}", refused.status, {key: value for key, value in headers.items() if value})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def _user(self) -> str | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given not in TOKENS:
            raise _RefusedError(401, message="Invalid credentials in Authorization header")
        return TOKENS.get(given)

    def _repository(self, name: str, write: bool = False) -> Repository:
        user, found = self._user(), self.server.repositories.get(name)
        is_own = user == name.partition("/")[0]
        if found is None or (found.private and not is_own):
            raise _RefusedError(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and not is_own:
            raise _RefusedError(403, message="You do not have write access")
        return found

    def _revision(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        found = self._repository(name).files(revision)
        if found is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def create(self) -> None:
        asked = json.loads(self.body)
        user, owner = self._user(), asked.get("organization")
        if user is None:
            raise _RefusedError(401, message="Log in first")
        if owner != user:
            raise _RefusedError(403, message=f"You may not create models of {owner}")
        is_private = asked.get("visibility") == "private" or bool(asked.get("private"))  # the second before 2.0
        name = f"{owner}/{asked['name']}"
        if name in self.server.repositories:
            raise _RefusedError(409, message="You already created this model repo")
        self.server.repositories[name] = Repository(private=is_private)
        self.server.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json({"url": f"{self.server.url}/{name}", "name": name})

    def validate(self) -> None:
        text = json.loads(self.body)["content"]
        header = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}
        if "license" not in header:
            self._send(json.dumps({"errors": [{"message": '"license" is required'}], "warnings": []}).encode(), 400)
            return
        self._json({"errors": [], "warnings": []})

    def info(self, name: str, revision: str | None) -> None:
        commit, files = self._revision(name, revision or "main")
        self._json({"id": name, "modelId": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]})

    def tree(self, name: str, revision: str) -> None:
        _, files = self._revision(name, revision)
        self._json([_entry(path, content) for path, content in files.items()])

    def preupload(self, name: str) -> None:
        self._repository(name, write=True)
        there = {path: _entry(path, content) for path, content in self.server.head(name).items()}
        modes = []
        for file in json.loads(self.body)["files"]:
            lfs = is_lfs(file["path"])
            known = there.get(file["path"], {})
            oid = known.get("lfs", known).get("oid") if known else None
            modes.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": False,
                    "oid": oid,
                }
            )
        self._json({"files": modes})

    def batch(self, name: str) -> None:
        self._repository(name, write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            found = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server.objects:
                found["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{asked['oid']}"}}
            objects.append(found)
        self._json({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400, message="another content")
        self.server.uploads.append(oid)
        self.server.objects[oid] = self.body
        self._send(b"")

    def commit(self, name: str) -> None:
        repository = self._repository(name, write=True)
        self.server.before_commit()
        files = dict(self.server.head(name))
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit") not in (None, repository.names.get("main")):
                raise _RefusedError(412, message="A commit has happened since")
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        self._json({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit, files = self._revision(name, revision)
        if self.server.repositories[name].gated and self._user() != name.partition("/")[0]:
            raise _RefusedError(403, "GatedRepo", "Access to model is restricted")
        if path not in files:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        entry = _entry(path, files[path])
        etag = entry.get("lfs", entry)["oid"]
        self._send(files[path], headers={"X-Repo-Commit": commit, "ETag": f'"{etag}"'})


MODEL = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"/api/repos/create", {"POST"}, "create"),
    (r"/api/validate-yaml", {"POST"}, "validate"),
    (rf"/api/models/{MODEL}(?:/revision/(.+))?", {"GET"}, "info"),
    (rf"/api/models/{MODEL}/tree/([^/]+)", {"GET"}, "tree"),
    (rf"/api/models/{MODEL}/preupload/main", {"POST"}, "preupload"),
    (rf"/api/models/{MODEL}/commit/main", {"POST"}, "commit"),
    (rf"/{MODEL}\.git/info/lfs/objects/batch", {"POST"}, "batch"),
    (r"/lfs/([0-9a-f]{64})", {"PUT"}, "put"),
    (rf"/{MODEL}/resolve/([^/]+)/(.+)", {"GET", "HEAD"}, "resolve"),
]


def is_lfs(path: str) -> bool:
    """Is a file kept outside git, by its sha256?"""
    return path.endswith((".safetensors", ".bin"))


def _entry(path: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    if is_lfs(path):
        oid = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
        found["lfs"] = {"oid": oid, "size": len(content), "pointerSize": len(pointer)}
        content = pointer
    found["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return found
