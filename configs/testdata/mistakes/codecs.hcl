media {
  codecs     = ["opus", "PCMX", "telephone-event", "opus/fast", "SILK/24000"]
  codecs_off = ["g729", "telephone-event/48000", "h26"]
}
