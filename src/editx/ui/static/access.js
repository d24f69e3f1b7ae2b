// What Gradio's own elements lack for those who hear the page.
"use strict";

EditX.access = () => {
  // The zone for uploads shows one text and is named by another, so that speaking what one sees does not reach it.
  for (const zone of document.querySelectorAll(".upload-container[aria-label]")) zone.removeAttribute("aria-label");
};
new MutationObserver(EditX.access).observe(document, { childList: true, subtree: true });
