// Line charts as SVG.
//
//   write(core::disk(), path, svg_of({.title = "Accuracy", .x_label = "iteration", .lines = {...}}));
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace pan::experiment {

struct ChartPoint {
  double x = 0, mean = 0;
  double low = 0, high = 0;  // band; NaN: none here
};

struct ChartLine {
  std::string name;
  std::vector<ChartPoint> points;                              // by rising x
  std::vector<std::vector<std::pair<double, double>>> thin{};  // single seeds
};

struct Chart {
  std::string title, x_label, y_label;
  std::string note;         // below the title
  bool in_percent = false;  // the values are shares
  std::vector<ChartLine> lines;
};

// One file by itself: white ground, axes with ticks, a legend beside the plot. Values that are not finite are
// left out. No lines or no points: a picture that says so.
std::string svg_of(const Chart& chart);

// Round tick positions covering [low, high], about `about` of them (1, 2 or 5 times a power of ten apart);
// `whole`: integers only. low = high widens the range.
std::vector<double> nice_ticks(double low, double high, int about, bool whole = false);

}  // namespace pan::experiment
