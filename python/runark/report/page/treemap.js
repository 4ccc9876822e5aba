// The treemap: owner, script, session; the area is inodes or bytes, the colour age.

const HEAT = 5;
const heat = (at) => Math.min(HEAT - 1, Math.floor((HEAT * at) / D.cuts.length));

function squarified(items, x, y, width, height, draw) { // Bruls, Huizing, van Wijk: rows as square as they get
  let total = items.reduce((all, item) => all + item.area, 0), rest = items.filter((item) => item.area > 0);
  rest.sort((a, b) => b.area - a.area);
  while (rest.length && width > 0 && height > 0) {
    const side = Math.min(width, height), unit = (width * height) / total;
    const worst = (row, area) => Math.max((side * side * row[0].area * unit) / (area * unit) ** 2,
      (area * unit) ** 2 / (side * side * row[row.length - 1].area * unit));
    let row = [rest[0]], area = rest[0].area;
    while (row.length < rest.length) {
      const next = rest[row.length];
      if (worst([...row, next], area + next.area) > worst(row, area)) break;
      row.push(next);
      area += next.area;
    }
    const thick = (area * unit) / side;
    let along = 0;
    for (const item of row) {
      const long = (item.area / area) * side;
      if (width >= height) draw(item, x, y + along, thick, long);
      else draw(item, x + along, y, long, thick);
      along += long;
    }
    if (width >= height) { x += thick; width -= thick; } else { y += thick; height -= thick; }
    rest = rest.slice(row.length);
    total -= area;
  }
}

const area = (inodes, allocated) => (state.unit === "inodes" ? inodes : allocated);

function tileItems(tile) {
  const [, , sessions, inodes, allocated, age, largest] = tile, items = [];
  let rest = [sessions, inodes, allocated];
  for (const [name, count, size, at] of largest) {
    items.push({ area: area(count, size), at, text: `${shown(name)}: ${counted(count, "inode")}, ${bytes(size)}` });
    rest = [rest[0] - 1, rest[1] - count, rest[2] - size];
  }
  if (rest[0] > 0) items.push({ area: Math.max(area(rest[1], rest[2]), 0), at: age,
    text: `${counted(rest[0], "session")}${largest.length ? " more" : ""}: ${counted(rest[1], "inode")}, ${bytes(rest[2])}` });
  return items;
}

function treemap() {
  const box = $("treemap"), width = Math.max(box.clientWidth, 200), height = Math.round(Math.min(420, width * 0.75));
  const root = drawing(width, height, `${state.unit} by owner, script and session`);
  root.setAttribute("role", "group");
  const owners = D.owners.map((owner, index) => ({ index, area: area(owner.inodes, owner.allocated), tiles: D.tiles.filter((tile) => tile[0] === index) }));
  squarified(owners, 0, 0, width, height, (owner, x, y, wide, tall) => {
    const scripts = owner.tiles.map((tile) => ({ tile, area: area(tile[3], tile[4]) }));
    let label = D.owners.length > 1 ? `${grouped(D.owners[owner.index])}: ` : ""; // on the first, which is the largest
    squarified(scripts, x, y, wide, tall, (script, ...at) => { root.append(tileOf(script.tile, label, ...at)); label = ""; });
  });
  box.replaceChildren(root);
  $("map-key").replaceChildren(...Array.from({ length: HEAT }, (_, level) => {
    const from = D.cuts[Math.ceil((level * D.cuts.length) / HEAT)];
    return html("li", {}, html("i", { class: `age${level}` }), level && from ? `older than ${from.age}` : "younger");
  }));
}

function tileOf(tile, label, x, y, wide, tall) {
  const where = `${grouped(D.owners[tile[0]])} / ${grouped(D.scripts[tile[1]])}`;
  const all = `${where}: ${counted(tile[2], "session")}, ${counted(tile[3], "inode")}, ${bytes(tile[4])}`;
  const node = svg("g", { class: "tile", tabindex: 0, role: "img", "aria-label": all });
  const tell = (text) => { $("tile-text").textContent = text; };
  squarified(tileItems(tile), x, y, wide, tall, (item, left, top, width, height) => {
    const rect = svg("rect", { class: `age${heat(item.at)}`, x: left, y: top, width, height });
    rect.addEventListener("pointerenter", () => tell(`${where} / ${item.text}`));
    node.append(rect);
  });
  node.append(svg("rect", { class: "frame", x, y, width: wide, height: tall }));
  const fits = Math.floor((wide - 8) / 7), name = label + grouped(D.scripts[tile[1]]);
  if (tall > 18 && fits > 4) node.append(svg("text", { x: x + 5, y: y + 14 }, name.length > fits ? name.slice(0, fits - 1) + "…" : name));
  node.addEventListener("focus", () => tell(all));
  return node;
}
