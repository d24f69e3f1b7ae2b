// What Gradio's own elements lack for those who hear the page.
"use strict";

/** Name Gradio's elements in the page's language, and as they look. */
EditX.access = () => {
  for (const element of document.querySelectorAll("button[aria-label]")) {
    const said = window.EDITX_WORDS[`gradio.${element.getAttribute("aria-label")}`];
    if (said) element.setAttribute("aria-label", said);
    // The zone for uploads shows one text and is named by another: who speaks what they see would not reach it.
    else if (element.matches(".upload-container")) element.removeAttribute("aria-label");
  }
};
new MutationObserver(EditX.access).observe(document, { childList: true, subtree: true });
