// What Gradio's own elements lack for those who hear the page, and for what browsers forbid.
"use strict";

/** Name Gradio's elements in the page's language, and as they look. */
EditX.access = () => {
  for (const element of document.querySelectorAll("button[aria-label]")) {
    const name = element.getAttribute("aria-label");
    const said = window.EDITX_WORDS[`gradio.${name}`];
    if (said) element.setAttribute("aria-label", said);
    // The zone for uploads shows one text and is named by another: who speaks what they see would not reach it.
    else if (element.matches(".upload-container")) element.removeAttribute("aria-label");
    // A page that did not come by https or from this very machine has no microphone.
    if (name === "Record audio" && !navigator.mediaDevices) element.hidden = true;
  }
  for (const hint of document.querySelectorAll(".editx-no-microphone")) hint.hidden = Boolean(navigator.mediaDevices);
  for (const box of document.querySelectorAll(".editx-player")) EditX.ready(box);
  for (const input of document.querySelectorAll("input[type=file][accept='audio/*']")) input.accept = "audio/*,.webm,.mp4";
};

/** Say which of the buttons around a player can be pressed. None is ever disabled: that would take the focus from it. */
EditX.ready = (box) => {
  const place = EditX.nameOf(box).replace("-player", "");
  const busy = box.getAttribute("aria-busy") === "true";
  const able = { generate: !busy, apply: !busy, cancel: busy, edit: box.dataset.state === "done" };
  for (const [name, is] of Object.entries(able)) {
    document.getElementById(`${place}-${name}`)?.setAttribute("aria-disabled", String(!is));
  }
};

addEventListener("click", (event) => {
  if (event.target.closest?.("[aria-disabled=true]")) event.stopImmediatePropagation();
}, true);

// Recorders call what they recorded a video, as its container may hold one; Gradio would refuse it for its name.
EditX.asSound = (files) => {
  const given = new DataTransfer();
  for (const file of files) given.items.add(new File([file], file.name, { type: file.type.replace(/^video\//, "audio/") }));
  return given.files;
};
EditX.looksLikeVideo = (files) => [...files].some((file) => file.type.startsWith("video/"));
addEventListener("change", ({ target }) => {
  if (target.matches?.("input[type=file]") && EditX.looksLikeVideo(target.files)) target.files = EditX.asSound(target.files);
}, true);
addEventListener("drop", (event) => {
  const input = event.target.closest?.(".upload-container")?.parentElement.querySelector("input[type=file]");
  if (!input || !EditX.looksLikeVideo(event.dataTransfer.files)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  input.files = EditX.asSound(event.dataTransfer.files);
  input.dispatchEvent(new Event("change", { bubbles: true }));
}, true);

new MutationObserver(EditX.access).observe(document, { childList: true, subtree: true });
