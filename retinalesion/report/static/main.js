// Which view is open (it stands in the address, so that a photograph can be linked), and the keys.
"use strict";

(() => {
  const detail = document.getElementById("detail");
  const list = document.querySelector(".list");
  const help = document.getElementById("help");
  const title = document.title;
  const narrow = matchMedia("(max-width: 1140px)");
  let scrolled = 0;
  let last = null;

  const route = () => {
    const row = report.list.named(location.hash.slice(1));
    if (row && detail.hidden) scrolled = scrollY;
    const leaving = !row && !detail.hidden;
    list.hidden = Boolean(row);
    detail.hidden = !row;
    document.body.classList.toggle("listing", !row);
    if (row) {
      last = row;
      report.detail.open(row);
      document.title = `${row.querySelector(".id").textContent} · retinalesion`;
      if (!leaving) scrollTo(0, 0);
    } else {
      report.detail.close();
      document.title = title;
      if (leaving) {
        scrollTo(0, scrolled);
        last.querySelector("a").focus({ preventScroll: false });
      }
    }
  };

  // Leafing through leaves one step in the browser's history, so that "back" is back to the list.
  report.go = (name) => {
    if (!name) return;
    if (detail.hidden) location.hash = name;
    else location.replace(`#${name}`);
  };

  const onDetail = {
    j: () => report.go(document.getElementById("next").dataset.to),
    k: () => report.go(document.getElementById("previous").dataset.to),
    f: report.layers.toggleFade,
    t: () => report.layers.toggleAll("truth"),
    c: report.layers.toggleCamera,
    p: report.layers.togglePossible,
    a: report.layers.toggleMarks,
    0: () => report.layers.toggleAll("model"),
    "+": () => report.stage.zoom(1.5),
    "=": () => report.stage.zoom(1.5),
    "-": () => report.stage.zoom(1 / 1.5),
    Escape: () => (location.hash = ""),
  };
  onDetail.ArrowRight = onDetail.j;
  onDetail.ArrowLeft = onDetail.k;
  for (let number = 1; number <= 8; number += 1) onDetail[number] = () => report.layers.toggle(number);

  const onList = { j: () => report.list.step(1), k: () => report.list.step(-1) };
  onList.ArrowDown = onList.j;
  onList.ArrowUp = onList.k;

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    const keys = { ...(detail.hidden ? onList : onDetail), "?": () => help.showModal() };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  for (const button of document.querySelectorAll("[data-help]")) {
    button.addEventListener("click", () => help.showModal());
  }
  // Where it is narrow, filters would push the list out of sight: there they are folded.
  const fold = () => (document.querySelector(".filter").open = !narrow.matches);
  narrow.addEventListener("change", fold);
  fold();
  addEventListener("hashchange", route);
  route();
})();
