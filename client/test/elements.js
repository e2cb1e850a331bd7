/** The part of an element that the page uses. */
export class FakeElement {
  textContent = '';
  hidden = true;
  dataset = {};
  properties = {};
  classes = new Set();
  style = { setProperty: (name, value) => void (this.properties[name] = value) };
  classList = { toggle: (name, on) => void (on ? this.classes.add(name) : this.classes.delete(name)) };
}

/** A new one under each name. */
export function elements(...names) {
  return Object.fromEntries(names.map((name) => [name, new FakeElement()]));
}
