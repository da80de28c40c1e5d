// The photograph: zoom by wheel, pinch and buttons; pan by dragging.
"use strict";

report.stage = (() => {
  const stage = document.getElementById("stage");
  const sheet = document.getElementById("sheet");
  const farthest = 1;
  const nearest = 16;
  const fingers = new Map();
  let scale = 1;
  let x = 0; // of the sheet's middle from the stage's, in screen pixels
  let y = 0;

  const within = (value, least, most) => Math.min(Math.max(value, least), most);

  const show = () => {
    const side = sheet.offsetWidth * scale;
    const reachX = Math.max(0, (side - stage.clientWidth) / 2);
    const reachY = Math.max(0, (side - stage.clientHeight) / 2);
    x = within(x, -reachX, reachX);
    y = within(y, -reachY, reachY);
    sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    stage.classList.toggle("zoomed", scale > 1);
    document.getElementById("whole").textContent = `${scale < 9.95 ? Number(scale.toFixed(1)) : Math.round(scale)}×`;
  };

  // What lies under the point stays under it.
  const zoom = (factor, point = { x: 0, y: 0 }) => {
    const wanted = within(scale * factor, farthest, nearest);
    const change = wanted / scale;
    x = point.x - (point.x - x) * change;
    y = point.y - (point.y - y) * change;
    scale = wanted;
    show();
  };

  const reset = () => {
    scale = 1;
    x = 0;
    y = 0;
    show();
  };

  const fromMiddle = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  };

  const middle = () => {
    const points = [...fingers.values()];
    const sum = points.reduce((a, b) => ({ x: a.x + b.x, y: a.y + b.y }));
    return { x: sum.x / points.length, y: sum.y / points.length };
  };

  const spread = () => {
    const [a, b] = [...fingers.values()];
    return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  };

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 20 : 1);
      zoom(Math.exp(-within(pixels, -200, 200) * (event.ctrlKey ? 0.01 : 0.002)), fromMiddle(event));
    },
    { passive: false },
  );

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button") || fingers.size > 1) return;
    fingers.set(event.pointerId, fromMiddle(event));
    if (event.pointerType === "mouse") stage.setPointerCapture(event.pointerId);
  });

  stage.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = middle();
    const apart = spread();
    fingers.set(event.pointerId, fromMiddle(event));
    const after = middle();
    x += after.x - before.x;
    y += after.y - before.y;
    zoom(apart ? spread() / apart : 1, after);
  });

  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  document.getElementById("nearer").addEventListener("click", () => zoom(1.5));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("whole").addEventListener("click", reset);
  new ResizeObserver(show).observe(stage);

  return { zoom, reset };
})();
