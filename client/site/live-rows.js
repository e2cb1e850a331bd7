/**
 * Rows that are kept while they live, so that a button that has the focus does not lose it. Texts are written as texts:
 * nothing that a server or a caller says becomes markup.
 */
export class LiveRows {
  #body;
  #heads;
  #action;
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /**
   * @param {HTMLTableSectionElement} body of a table; on a phone each cell shows its column's head
   * @param {{label: string, run: (name: string) => void}} action of each row's button
   */
  constructor(body, action) {
    this.#body = body;
    this.#heads = [...(body.closest('table')?.tHead?.rows[0]?.cells ?? [])];
    this.#action = action;
  }

  /** @param {readonly {name: string, cells: readonly string[], idle: boolean}[]} rows the first cell names the row */
  show(rows) {
    const names = new Set(rows.map(({ name }) => name));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    for (const { name, cells, idle } of rows) {
      const row = this.#rows.get(name) ?? this.#add(name, cells.length);
      cells.forEach((text, index) => {
        const cell = row.cells[index];
        if (cell && cell.textContent !== text) cell.textContent = text;
      });
      const button = row.querySelector('button');
      if (button) button.disabled = idle;
    }
  }

  /**
   * @param {string} name
   * @param {number} cells
   */
  #add(name, cells) {
    const row = document.createElement('tr');
    for (let index = 0; index < cells; index += 1) {
      row.insertCell().dataset['head'] = this.#heads[index]?.textContent ?? '';
    }
    row.cells[0]?.classList.add('name');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'plain';
    button.textContent = this.#action.label;
    button.setAttribute('aria-label', `${this.#action.label} ${name}`);
    button.addEventListener('click', () => this.#action.run(name));
    row.insertCell().append(button);
    this.#body.append(row);
    this.#rows.set(name, row);
    return row;
  }
}
