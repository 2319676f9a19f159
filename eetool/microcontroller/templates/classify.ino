// Classification of one input, and the exit that answered. Needs a library of TensorFlow Lite Micro beside $name.
#include <$name.h>

void setup() {
  Serial.begin(115200);
  if (${name}_init() != ${NAME}_OK) {
    Serial.println("$name does not fit; see $name.h");
    for (;;) delay(1000);
  }
  ${name}_select($default_point);
}

void loop() {
  // Write an input here: ${name}_quantize(0, value) for every value of the float model's input.
  int8_t *input = ${name}_input(0);
  for (int i = 0; i < ${NAME}_INPUT0_BYTES; ++i) input[i] = ${name}_quantize(0, 0.0f);

  ${name}_result result;
  if (${name}_run(&result) == ${NAME}_OK) {
    Serial.print(${name}_labels[result.class_index]);
    Serial.print(" at exit ");
    Serial.print(result.exit_index);
    Serial.print(", confidence ");
    Serial.println(result.confidence);
  }
  delay(1000);
}
