# SPDX-License-Identifier: GPL-3.0-or-later
"""The one form of the board."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from notes.models import Note, new_token


class NoteForm(forms.ModelForm):
    """Writing a note, with a file if one likes."""

    class Meta:
        model = Note
        fields = ["author", "text", "token", "attachment"]
        widgets = {"text": forms.Textarea(attrs={"rows": 3}), "token": forms.HiddenInput()}

    def clean_token(self) -> str:
        """An empty token is replaced, so that every note has one."""
        return self.cleaned_data["token"] or new_token()

    def clean_attachment(self) -> UploadedFile | None:
        """Refuse files that are too large for a board."""
        attachment: UploadedFile | None = self.cleaned_data["attachment"]
        if attachment and attachment.size > settings.UPLOAD_LIMIT_BYTES:
            raise forms.ValidationError(
                f"At most {settings.UPLOAD_LIMIT_BYTES} bytes, this file has {attachment.size}."
            )
        return attachment
