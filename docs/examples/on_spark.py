"""Labels images with Spark: a Parquet file of bytes becomes one of label maps.

spark-submit docs/examples/on_spark.py MODEL images.parquet labels.parquet
"""

import base64
import sys

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

import kseg


def make_predict(labeller: kseg.Labeller):
    """Returns what Spark calls once in each worker, to get the function for batches."""

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        done = labeller({"image": images})
        # The results of predict_batch_udf are numbers or text, so the PNG files go as base64.
        labels = [base64.b64encode(png).decode() for png in done["labels"]]
        return {"labels": np.array(labels, object), "error": done["error"]}

    return lambda: predict


def label(spark: SparkSession, model: str, source: str, target: str) -> None:
    """Labels the column `image` and writes the others beside `labels` and `error`."""
    kind = StructType([StructField("labels", StringType()), StructField("error", StringType())])
    udf = predict_batch_udf(
        make_predict(kseg.Labeller(model, png=True)), return_type=kind, batch_size=32
    )
    rows = spark.read.parquet(source)
    found = rows.withColumn("found", udf("image"))
    found.select(*(c for c in rows.columns if c != "image"), "found.*").selectExpr(
        "*", "unbase64(labels) AS png"
    ).drop("labels").withColumnRenamed("png", "labels").write.parquet(target)


if __name__ == "__main__":
    label(SparkSession.builder.getOrCreate(), *sys.argv[1:])
