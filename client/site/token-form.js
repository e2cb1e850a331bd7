/** Asks for the server's token, once the server has asked for one. The token is kept nowhere but in this page. */
export class TokenForm {
  #form;
  #field;

  /**
   * @param {{form: HTMLFormElement, field: HTMLInputElement}} elements
   * @param {(token: string) => void} ontoken told the token that was typed
   */
  constructor({ form, field }, ontoken) {
    this.#form = form;
    this.#field = field;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const token = field.value.trim();
      if (!token) return;
      field.value = '';
      form.hidden = true;
      ontoken(token);
    });
  }

  /** @param {boolean} needed */
  show(needed) {
    if (needed === !this.#form.hidden) return;
    this.#form.hidden = !needed;
    if (needed) this.#field.focus();
  }
}
