import { DEVICE_CHOICES } from '../src/previewLimits';
import type { DeviceChoice, EncoderStatus, ModelInfo, PanelState, ResizeMode } from '../src/protocol';
import { button, checkbox, dropdown, numberBox, progressRing, slider } from './controls';
import { el } from './dom';
import { sayLayer } from './state';

export interface ControlEvents {
  onState(changes: Partial<PanelState>): void;
  onDevice(device: DeviceChoice): void;
  onResize(mode: ResizeMode): void;
  onCancel(): void;
  onRestart(device?: DeviceChoice): void;
  onSavePng(): void;
  onSaveFeatures(format: 'npy' | 'safetensors'): void;
}

const OVERLAYS = [
  { value: 'pca', label: 'PCA as colour' },
  { value: 'similarity', label: 'Similarity to a patch' },
  { value: 'norm', label: 'Feature norm' },
  { value: 'attention', label: 'Attention of a patch' },
  { value: 'pool', label: 'Attention pool' },
  { value: 'channel', label: 'One channel' },
  { value: 'none', label: 'Picture only' },
] as const satisfies readonly { value: PanelState['overlay']; label: string }[];

const DEVICE_NAMES: Readonly<Record<DeviceChoice, string>> = {
  auto: 'Automatic', cpu: 'CPU', webgpu: 'WebGPU', cuda: 'CUDA', dml: 'DirectML', coreml: 'CoreML',
};

/** Every control of the panel, and the line that says what runs where. */
export class ControlPanel {
  readonly header = el('header');
  readonly element = el('section', 'controls');
  private readonly title = el('h1');
  private readonly status = el('span', 'status');
  private readonly busy = progressRing('Working');
  private readonly cancel = button({ label: 'Cancel' }, () => { this.events.onCancel(); });
  private readonly restart = button({ label: 'Start again', primary: true }, () => { this.events.onRestart(); });
  private readonly restartOnCpu = button({ label: 'Start again on the CPU' }, () => { this.events.onRestart('cpu'); });
  private readonly hint = el('p', 'hint');
  private model: ModelInfo | undefined;

  private readonly device = dropdown({ label: 'Device' }, DEVICE_CHOICES.map(value => ({ value, label: DEVICE_NAMES[value] })), value => { this.events.onDevice(value); });
  private readonly resize = dropdown({ label: 'Resize' }, [
    { value: 'model', label: 'As the model does' },
    { value: 'square', label: 'Straight to the square' },
    { value: 'crop', label: 'Shorter side, centre crop' },
  ] as const, value => { this.events.onResize(value); });
  private readonly overlay = dropdown({ label: 'Show' }, OVERLAYS, overlay => { this.events.onState({ overlay }); });
  private readonly layer = slider({ label: 'Layer' }, { min: -1, max: 1, step: 1 }, value => this.model === undefined ? '' : sayLayer(value, this.model), layer => { this.events.onState({ layer }); });
  private readonly head = slider({ label: 'Head' }, { min: -1, max: 0, step: 1 }, value => value < 0 ? 'mean of all' : `head ${value}`, value => { this.events.onState({ head: value < 0 ? null : value }); });
  private readonly query = slider({ label: 'Query' }, { min: 0, max: 0, step: 1 }, value => `query ${value}`, query => { this.events.onState({ query }); });
  private readonly channel = numberBox({ label: 'Channel' }, channel => { this.events.onState({ channel }); });
  private readonly opacity = slider({ label: 'Opacity' }, { min: 0, max: 1, step: 0.05 }, value => `${Math.round(100 * value)} %`, opacity => { this.events.onState({ opacity }); });
  private readonly beside = checkbox({ label: 'Side by side' }, on => { this.events.onState({ arrangement: on ? 'beside' : 'overlay' }); });
  private readonly grid = checkbox({ label: 'Patch grid' }, grid => { this.events.onState({ grid }); });
  private readonly save = el('div', 'row');

  constructor(private readonly events: ControlEvents) {
    this.status.setAttribute('role', 'status');
    this.header.append(this.title, this.busy, this.status, this.cancel, this.restart, this.restartOnCpu);
    this.save.append(
      button({ label: 'Save PNG', title: 'Save what is seen' }, () => { events.onSavePng(); }),
      button({ label: 'Save .npy', title: 'Save the features as a NumPy array' }, () => { events.onSaveFeatures('npy'); }),
      button({ label: 'Save safetensors', title: 'Save the features and hidden states' }, () => { events.onSaveFeatures('safetensors'); }),
    );
    this.element.append(
      this.overlay.element, this.layer.element, this.head.element, this.query.element, this.channel.element,
      this.hint, this.opacity.element, el('div', 'row', this.beside.element, this.grid.element),
      this.device.element, this.resize.element, this.save,
    );
  }

  setModel(model: ModelInfo): void {
    this.model = model;
    this.title.textContent = model.name;
    this.title.title = `${model.family}: ${model.layers} blocks, ${model.heads} heads, width ${model.width}, ${model.imageSize}×${model.imageSize} pixels`;
    this.layer.setRange(-1, model.layers);
    this.head.setRange(-1, model.heads - 1);
    this.query.setRange(0, model.queries - 1);
    this.channel.setRange(0, model.width - 1);
  }

  render(state: PanelState, status: EncoderStatus, hasPictures: boolean): void {
    this.overlay.set(state.overlay);
    this.layer.set(state.layer);
    this.head.set(state.head ?? -1);
    this.query.set(state.query);
    this.channel.set(state.channel);
    this.opacity.set(state.opacity);
    this.beside.set(state.arrangement === 'beside');
    this.grid.set(state.grid);
    this.device.set(status.choice);
    this.resize.set(status.resize);
    this.resize.element.title = `As the model does: by ${status.rule}`;
    const pooled = this.model !== undefined && state.layer >= this.model.layers;
    this.head.show(state.overlay === 'attention' && !pooled);
    this.query.show(state.overlay === 'pool' || (pooled && state.overlay !== 'none'));
    this.channel.show(state.overlay === 'channel' && !pooled);
    this.opacity.show(state.arrangement === 'overlay' && state.overlay !== 'none');
    this.save.hidden = !hasPictures;
    this.showStatus(status);
  }

  showHint(text: string): void {
    this.hint.textContent = text;
  }

  private showStatus({ state, message, device, rejected, progress, choice }: EncoderStatus): void {
    const working = state === 'loading' || state === 'running';
    this.busy.hidden = !working;
    this.cancel.hidden = !working;
    this.restart.hidden = state !== 'failed';
    this.restartOnCpu.hidden = state !== 'failed' || choice === 'cpu';
    const percent = progress === undefined ? '' : ` ${Math.round(100 * progress)} %`;
    const ran = device === undefined ? '' : `Runs on ${device}`;
    this.status.textContent = state === 'loading' ? `Loading the encoder${percent}` : state === 'running' ? `Encoding… ${ran}` : state === 'failed' ? 'The encoder stopped' : (message ?? ran);
    this.status.title = (rejected ?? []).map(({ device: name, reason }) => `${name}: ${reason}`).join('\n');
  }
}
