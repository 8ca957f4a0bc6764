import { onContentUpdated, useData } from 'vitepress';
import DefaultTheme from 'vitepress/theme';
import { watch } from 'vue';
import { drawDiagrams } from './diagrams.mjs';
import './diagrams.css';

export default {
  extends: DefaultTheme,
  setup() {
    const { isDark } = useData();
    const draw = () => drawDiagrams(isDark.value);
    onContentUpdated(draw);
    watch(isDark, draw);
  },
};
