// The list: sort by any column, filter by any property, count what is left.
"use strict";
const report = {};

report.list = (() => {
  const body = document.getElementById("rows");
  const rows = Array.from(body.rows);
  const facets = Array.from(document.querySelectorAll(".facet"));
  const chosen = new Map(facets.map((facet) => [facet.dataset.facet, new Set()]));
  const values = new Map(
    rows.map((row) => [row, new Map([...chosen.keys()].map((key) => [key, row.dataset[key].split("|")]))]),
  );
  const names = new Map(rows.map((row) => [row, row.querySelector(".id").textContent]));
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const byName = (a, b) => collator.compare(names.get(a), names.get(b));

  // A row is shown if, of every property that has choices, it has one of them.
  const passes = (row, but) =>
    [...chosen].every(
      ([key, set]) => key === but || !set.size || values.get(row).get(key).some((value) => set.has(value)),
    );

  const visible = () => Array.from(body.rows).filter((row) => !row.hidden);

  const filter = () => {
    let count = 0;
    for (const row of rows) {
      row.hidden = !passes(row);
      count += row.hidden ? 0 : 1;
    }
    for (const facet of facets) {
      const key = facet.dataset.facet;
      const left = new Map();
      for (const row of rows) {
        if (passes(row, key)) {
          for (const value of values.get(row).get(key)) left.set(value, (left.get(value) || 0) + 1);
        }
      }
      for (const choice of facet.querySelectorAll(".choice")) {
        const amount = left.get(choice.dataset.value) || 0;
        const pressed = chosen.get(key).has(choice.dataset.value);
        choice.querySelector(".count").textContent = amount;
        choice.setAttribute("aria-pressed", pressed);
        choice.disabled = !amount && !pressed;
      }
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length} shown`;
    document.getElementById("clear").hidden = [...chosen.values()].every((set) => !set.size);
    document.getElementById("nothing").hidden = count > 0 || !rows.length;
  };

  const clear = () => {
    for (const set of chosen.values()) set.clear();
    filter();
  };

  // Numbers begin with the largest, names with the first; the same column again turns the order round.
  const sort = (heading) => {
    const key = heading.querySelector("button").dataset.sort;
    const before = heading.getAttribute("aria-sort");
    const first = key === "name" ? "ascending" : "descending";
    const second = key === "name" ? "descending" : "ascending";
    const order = before === first ? second : first;
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const turn = order === "ascending" ? 1 : -1;
    const number = new Map(rows.map((row) => [row, Number(row.getAttribute(`data-by-${key}`))]));
    const compare =
      key === "name"
        ? (a, b) => turn * byName(a, b)
        : (a, b) => turn * (number.get(a) - number.get(b)) || byName(a, b);
    body.append(...[...rows].sort(compare));
  };

  for (const facet of facets) {
    facet.addEventListener("click", (event) => {
      const choice = event.target.closest(".choice");
      if (!choice) return;
      const set = chosen.get(facet.dataset.facet);
      if (!set.delete(choice.dataset.value)) set.add(choice.dataset.value);
      filter();
    });
  }
  for (const heading of document.querySelectorAll(".photographs th")) {
    heading.firstElementChild.addEventListener("click", () => sort(heading));
  }
  for (const button of document.querySelectorAll("#clear, [data-clear]")) {
    button.addEventListener("click", clear);
  }
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) row.querySelector("a").click();
  });

  const named = (name) => rows.find((row) => row.dataset.name === name);

  // The shown rows around one, in the order of the list; all rows if it is filtered out.
  const around = (row) => {
    const shown = visible();
    const order = shown.includes(row) ? shown : Array.from(body.rows);
    const place = order.indexOf(row);
    return { place, count: order.length, previous: order[place - 1], next: order[place + 1] };
  };

  // Moves the focus by one row.
  const step = (by) => {
    const shown = visible();
    const place = shown.indexOf(document.activeElement.closest("tr"));
    const next = shown[place < 0 ? 0 : Math.min(Math.max(place + by, 0), shown.length - 1)];
    if (next) next.querySelector("a").focus();
  };

  return { named, around, step };
})();
