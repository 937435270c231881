// What a person chose for this browser: language, light or dark, which clock.

export type Language = 'en' | 'zh';
export type Theme = 'system' | 'light' | 'dark';
export type Clock = 'local' | 'utc';

function kept<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
  const value = localStorage.getItem(`keystone.${name}`);
  return choices.find((choice) => choice === value) ?? otherwise;
}

class Prefs {
  language = $state<Language>(kept('language', ['en', 'zh'], navigator.language.startsWith('zh') ? 'zh' : 'en'));
  theme = $state<Theme>(kept('theme', ['system', 'light', 'dark'], 'system'));
  clock = $state<Clock>(kept('clock', ['local', 'utc'], 'local'));

  keep(): void {
    localStorage.setItem('keystone.language', this.language);
    localStorage.setItem('keystone.theme', this.theme);
    localStorage.setItem('keystone.clock', this.clock);
  }

  /** The page itself says language and colours to the browser. */
  apply(): void {
    document.documentElement.lang = this.language === 'zh' ? 'zh-CN' : 'en';
    document.documentElement.dataset.theme = this.theme;
  }
}

export const prefs = new Prefs();
