// Buttons that write a tag into a text field, where the cursor is.
"use strict";

/** Fill `box` with a button for each of `tags`, such as [Laughter]; they write into the field `selector` finds. */
EditX.tags = (box, tags, selector) => {
  const { h, t } = EditX;
  const insert = (tag) => {
    const field = document.querySelector(selector);
    field.focus();
    // As if typed, so that it can be undone; what cannot do that gets the same text without.
    if (document.execCommand("insertText", false, tag)) return;
    field.setRangeText(tag, field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", t("edit.tags"));
  for (const tag of tags) {
    const label = t(`tag.${tag.slice(1, -1)}`);
    const title = t("edit.insert", { tag });
    box.append(h("button", { type: "button", class: "editx-button", title, onclick: () => insert(tag) }, label));
  }
};
