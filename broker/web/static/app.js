// Two comforts; without them everything works by links, forms and <noscript> refresh.
"use strict";
(() => {
  // 1. Live state: look again as soon as the server says that something has changed.
  const { live, revision } = document.body.dataset;
  if (live && window.EventSource) {
    let source;
    let again;
    const stop = () => {
      source.close();
      clearTimeout(again);
    };
    const listen = () => {
      source = new EventSource(live);
      source.addEventListener("state", (event) => {
        if (event.data !== revision) {
          stop();
          location.reload();
        }
      });
      // Refused, or no broker behind the proxy: a browser gives up then, this page does not.
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) {
          again = setTimeout(listen, 10_000 + Math.random() * 10_000);
        }
      });
    };
    listen();
    // The answer to our own form brings the next page; looking again would overtake it.
    addEventListener("submit", stop);
    addEventListener("pagehide", stop);
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }
  // 2. How much is ticked, beside the buttons.
  const count = document.querySelector("[data-count]");
  if (count) {
    const form = count.closest("form");
    const tell = () => {
      count.textContent = count.dataset.count
        .replace("{items}", form.querySelectorAll("[type=checkbox]:checked").length)
        .replace("{cards}", form.querySelectorAll("[value=agree]:checked").length);
      count.hidden = false;
    };
    form.addEventListener("change", tell);
    tell();
  }
})();
