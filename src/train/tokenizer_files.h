// The files beside the weights that make a folder usable by itself.
#pragma once

#include <string>

namespace pan::train {

// Copies tokenizer, chat template and generation settings of a model folder, those that are there. Error:
// kIo.
void copy_tokenizer_files(const std::string& from, const std::string& to);

}  // namespace pan::train
