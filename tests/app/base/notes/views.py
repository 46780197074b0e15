# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the board, and the same as JSON for programs."""

from __future__ import annotations

import functools
import hashlib
import time
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from notes.forms import NoteForm
from notes.models import Note
from notes.tasks import count_words

PAGE_SIZE = 20
LIST_LIMIT = 10_000
SLOW_LIMIT_SECONDS = 30.0


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """The board with its newest notes."""
    form = NoteForm(initial={"author": request.session.get("author", "")})
    return render(request, "notes/index.html", {"form": form, "notes": Note.objects.all()[:PAGE_SIZE]})


@require_http_methods(["GET", "POST"])
def notes(request: HttpRequest) -> HttpResponse:
    """GET: the notes whose token begins with ?token=, as JSON. POST: write a note."""
    if request.method == "GET":
        found = Note.objects.filter(token__startswith=request.GET.get("token", ""))[:LIST_LIMIT]
        return JsonResponse(signed({"notes": [{"id": note.pk, "token": note.token} for note in found]}))
    form = NoteForm(request.POST, request.FILES)
    wants_json = "application/json" in request.headers.get("Accept", "")
    if form.is_valid():
        note = store(form)
        request.session["author"] = note.author
        return JsonResponse(signed(described(note)), status=201) if wants_json else redirect("index")
    if wants_json:
        return JsonResponse(signed({"errors": form.errors}), status=400)
    newest = Note.objects.all()[:PAGE_SIZE]
    return render(request, "notes/index.html", {"form": form, "notes": newest}, status=400)


@require_GET
def slow(request: HttpRequest) -> HttpResponse:
    """Answers after ?seconds=, as a page with a slow report behind it would."""
    try:
        seconds = float(request.GET.get("seconds", "1"))
    except ValueError:
        return HttpResponseBadRequest("seconds must be a number\n")
    if not 0 <= seconds <= SLOW_LIMIT_SECONDS:
        return HttpResponseBadRequest(f"seconds must be between 0 and {SLOW_LIMIT_SECONDS:g}\n")
    time.sleep(seconds)
    return JsonResponse(signed({"slept": seconds}))


def store(form: NoteForm) -> Note:
    """Store the note, and have its words counted once it is really there."""
    with transaction.atomic():
        note: Note = form.save(commit=False)
        note.written_by_release = settings.RELEASE
        note.save()
        # robust: a broker that is down is logged and must not lose a note that was stored.
        transaction.on_commit(functools.partial(count_words.delay, note.pk), robust=True)
    return note


def described(note: Note) -> dict[str, Any]:
    """A note for programs; the checksum is of what was stored, so that the sender can compare."""
    answer: dict[str, Any] = {"id": note.pk, "token": note.token}
    if note.attachment:
        with note.attachment.open() as stored:
            digest = hashlib.file_digest(stored, "sha256").hexdigest()
        answer |= {"attachment": note.attachment.url, "sha256": digest}
    return answer


def signed(answer: dict[str, Any]) -> dict[str, Any]:
    """With the release and slot that answered."""
    return {**answer, "release": settings.RELEASE, "slot": settings.SLOT}
